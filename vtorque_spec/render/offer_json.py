"""An offer as JSON; docs/policy-show.md describes its members. Members are added, never renamed."""

import json
from typing import Any

from vtorque_spec.policy.told.limits import Limit
from vtorque_spec.policy.told.offer import Offer, OfferedField, OfferedImage


def text(offer: Offer, example: str | None) -> str:
    """Return the offer as one JSON object."""
    said = json.dumps(data(offer, example), indent=2, ensure_ascii=False)
    return said.encode("utf-8", "replace").decode() + "\n"  # files may be called what UTF-8 cannot say


def data(offer: Offer, example: str | None) -> dict[str, Any]:
    """Return the offer as plain data; sizes in bytes where they are facts, as people write them in limits."""
    facts = {"node_classes": offer.node_classes, "mounts": offer.mounts, "networks": offer.networks}
    return {
        "version": 1,
        "site": offer.site,
        "batch": offer.batch,
        "context": dict(offer.context),
        "fields": [field_data(field) for field in offer.fields],
        "rules": [limit_data(limit) for limit in offer.rules],
        "images": [_image(one) for one in offer.images],
        **{
            part: {name: said.model_dump(mode="json", exclude_none=True) for name, said in members.items()}
            for part, members in facts.items()
        },
        "example": example,
    }


def field_data(field: OfferedField) -> dict[str, Any]:
    """Return one field."""
    return {
        "name": field.name,
        "type": field.kind,
        "description": field.description,
        "required": field.required,
        "honoured": field.honoured,
        "defaults": [{"value": one.text, "at": one.at, "when": one.when} for one in field.defaults],
        "limits": [limit_data(limit) for limit in field.limits],
    }


def limit_data(limit: Limit) -> dict[str, Any]:
    """Return one limit."""
    return {
        "keyword": limit.keyword,
        "text": limit.text,
        "values": None if limit.values is None else list(limit.values),
        "when": limit.when,
        "severity": limit.severity.value,
        "code": limit.code,
        "message": limit.message,
        "help": limit.help,
        "url": limit.url,
        "may_be_suppressed": limit.may_be_suppressed,
        "at": limit.at,
    }


def _image(one: OfferedImage) -> dict[str, Any]:
    said = one.image
    return {
        "name": said.name,
        "description": said.description,
        "guest": said.guest,
        "state": one.state,
        "deprecated_until": said.deprecated_until,
        "successor": said.successor,
        "revisions": list(one.revisions),
        "tags": list(said.tags or ()),
        "min_memory": said.min_memory,
        "min_disk": said.min_disk,
        "allowed": one.allowed,
        "refused": [limit_data(limit) for limit in one.refused],
    }
