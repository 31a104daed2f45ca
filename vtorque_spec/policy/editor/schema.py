"""The JSON Schema of job files as one site has it: the published one, with the site's facts and rules merged in.

It is for editors, which show and check while somebody writes. What it refuses, the compiler refuses too; the compiler
alone knows all rules. Those that cannot be said of the file as written (rules under a condition, warnings, rules about
the values that defaults fill in) stand in the descriptions.

The keywords errorMessage, patternErrorMessage, enumDescriptions and doNotSuggest are those of yaml-language-server
(https://github.com/redhat-developer/yaml-language-server); whoever does not know them ignores them.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vtorque_spec.document import Path
from vtorque_spec.policy.editor.fields import FieldRules
from vtorque_spec.policy.editor.merged import forbidden, merge_rules
from vtorque_spec.policy.told.wording import either
from vtorque_spec.site import Site
from vtorque_spec.site.catalogue import called, state_of
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.site.model import SiteMount
from vtorque_spec.spec.base import Shorthand
from vtorque_spec.spec.fields import ANY, Field, job_field
from vtorque_spec.spec.machine import OWN_MEMBERS
from vtorque_spec.spec.schema import SCHEMA_ID, vjob_schema
from vtorque_spec.units import print_duration, print_size

_IMAGE, _MOUNT, _NETWORK = ("image", "name"), ("mounts", ANY, "name"), ("network", "name")


def site_vjob_schema_text(site: Site) -> str:
    """Return the schema as the text of a file."""
    return json.dumps(site_vjob_schema(site), indent=2, ensure_ascii=False) + "\n"


def site_vjob_schema(site: Site) -> dict[str, Any]:
    """Return the schema (draft 2020-12), without references: the same type may be bounded otherwise elsewhere."""
    return _Merger(site).job()


class _Merger:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.rules = FieldRules(site)
        self.published = vjob_schema()
        self.names: Mapping[Path, dict[str, str]] = {
            _IMAGE: {name: _about_image(image, site) for name, image in sorted(site.offered().items())},
            _MOUNT: {name: _about_mount(mount) for name, mount in sorted(site.mounts.items())},
            _NETWORK: {name: f"{network.kind} network" for name, network in sorted(site.networks.items())},
        }

    def job(self) -> dict[str, Any]:
        job = {key: value for key, value in self.mapping(self.published, ()).items() if key != "$defs"}
        merge_rules(job, (), None, self.rules, self.site)
        name = self.site.name
        job["description"] = "\n".join([job["description"], *self.rules.sentences(())])
        return {**job, "$id": f"{SCHEMA_ID}:{name}", "title": f"vtorque job at {name}"}

    def value(self, schema: dict[str, Any], path: Path) -> dict[str, Any]:
        """Return the schema of the field at `path`."""
        if "$ref" in schema:
            schema = {**self.published["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
            del schema["$ref"]
        field = job_field(path)
        off = forbidden(path, field, self.rules)
        if off is not None:
            return self.described(off, path, schema)
        merged = self.forms(schema, path, field) if "anyOf" in schema else self.mapping(schema, path)
        if path in self.names:
            merged = {"type": "string", "enum": list(self.names[path])}
        merge_rules(merged, path, field, self.rules, self.site)
        if path in self.names:
            merged |= self.of_the_site(path, merged)
        default = _as_written(self.rules.defaults.get(path), field)
        if default is not None and default in merged.get("enum", [default]):
            merged["default"] = default
        return self.described(merged, path, schema)

    def mapping(self, schema: dict[str, Any], path: Path) -> dict[str, Any]:
        """Return the schema with what it holds merged."""
        merged = dict(schema)
        if "properties" in schema:
            merged["properties"] = {name: self.value(one, (*path, name)) for name, one in schema["properties"].items()}
        if "patternProperties" in schema:
            named = schema["patternProperties"].items()
            merged["patternProperties"] = {pattern: self.value(one, (*path, ANY)) for pattern, one in named}
        for keyword in ("items", "additionalProperties"):
            if isinstance(schema.get(keyword), dict):
                merged[keyword] = self.value(schema[keyword], (*path, ANY))
        return merged

    def forms(self, schema: dict[str, Any], path: Path, field: Field | None) -> dict[str, Any]:
        """Return a member that has a short form: what holds for the member that it stands for holds for it."""
        if field is None or field.model is None or not issubclass(field.model, Shorthand):
            raise LookupError(f"{path} has two forms and no shorthand")
        _, long = schema["anyOf"]
        merged = self.mapping(long, path)
        meant = {key: said for key, said in merged["properties"][field.model.shorthand].items() if key != "description"}
        forms = [meant, *self.pinned(meant), *self.own(merged, long)] if path == ("image",) else [meant]
        return {**schema, "anyOf": [*forms, merged]}

    def own(self, merged: dict[str, Any], long: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Take the members of a user's own image out of the form of the catalogue's, and yield the form of one's own.

        That has any name, and is yielded where the site has own images.
        """
        members = {name: merged["properties"].pop(name) for name in OWN_MEMBERS}
        if self.site.own_images:
            name = long["properties"]["name"]
            yield {**merged, "properties": {"name": name, **members}, "required": ["name", *OWN_MEMBERS]}

    def pinned(self, meant: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the short forms of an image with pins: the revisions, which an editor completes, and with digests."""
        entries = [one for name in meant["enum"] for one in self.site.revisions(name) if one.revision]
        offered = [one for one in entries if state_of(one, self.site.today) != "withdrawn"]
        revisions = [called(one) for one in offered]
        if revisions:
            about = [_about_image(one, self.site) for one in offered]
            yield {**meant, "enum": revisions, "enumDescriptions": about}
        names = "|".join(name.replace(".", r"\.") for name in [*meant["enum"], *revisions]) or "(?!)"
        pattern = f"^({names})@sha256:[0-9a-f]{{64}}$"
        yield {"type": "string", "pattern": pattern, "patternErrorMessage": meant["errorMessage"]}

    def of_the_site(self, path: Path, merged: dict[str, Any]) -> dict[str, Any]:
        """Return what an editor tells of the names of images, mounts and networks, after a rule's own message."""
        names: list[str] = merged["enum"]
        what = "mounts" if path == _MOUNT else f"{path[0]}s"
        allowed = f"the {what} that are allowed at {self.site.name}: {either(names) or 'none'}"
        message = "; ".join(filter(None, [merged.get("errorMessage"), allowed]))
        return {"enumDescriptions": [self.names[path][name] for name in names], "errorMessage": message}

    def described(self, merged: dict[str, Any], path: Path, schema: dict[str, Any]) -> dict[str, Any]:
        """Add what the site says to the description; what it says of a short form's member is said there as well."""
        field = job_field(path)
        lines = [schema["description"]] if "description" in schema else []
        lines += self.rules.sentences(path)
        if field and field.model and issubclass(field.model, Shorthand):
            lines += self.rules.sentences((*path, field.model.shorthand))
        return {**merged, "description": "\n".join(dict.fromkeys(lines))} if lines else merged


def _as_written(default: Any, field: Field | None) -> Any:
    """The default as a job file has it; None where there is none, or a mapping, whose members have their own."""
    if isinstance(default, int) and field is not None and field.kind in ("size", "duration"):
        return print_size(default) if field.kind == "size" else print_duration(default)
    return None if isinstance(default, dict) else default


def _about_image(image: CatalogueImage, site: Site) -> str:
    needs = f"needs {print_size(image.min_memory)} of memory and a root disk of {print_size(image.min_disk)}"
    until = f"; deprecated, until {image.deprecated_until}" if state_of(image, site.today) == "deprecated" else ""
    return f"{image.description} ({needs}){until}"


def _about_mount(mount: SiteMount) -> str:
    return f"{mount.source} at {mount.target}, {'read-only' if mount.mode == 'ro' else 'read-write'}"
