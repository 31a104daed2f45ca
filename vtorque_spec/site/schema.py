"""The published JSON Schema of `site.yaml`, generated from the models."""

import json

from vtorque_spec.site.model import SiteFile
from vtorque_spec.spec.schema import published

SCHEMA_ID = "urn:vtorque:schema:site:1"


def site_schema_text() -> str:
    """Return the schema as the text of `schemas/site-1.schema.json`."""
    return json.dumps(published(SiteFile, SCHEMA_ID, "vtorque site"), indent=2) + "\n"
