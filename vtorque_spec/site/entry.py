"""The text of a catalogue entry: of a new one, and of one that an admin wrote, with some members changed."""

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from vtorque_spec.diagnostics import Report
from vtorque_spec.document import Document, load
from vtorque_spec.site import add_as_site_file
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.spec.parse import parse_as

_ORDER = {name: place for place, name in enumerate(CatalogueImage.model_fields)}
_WIDTH = 116


def new_text(members: Mapping[str, Any]) -> str:
    """Return a new entry with these members, as they are written in the file; those that are None or () stay out."""
    return _dumped(_set(CommentedMap(), members))


def changed_text(text: str, members: Mapping[str, Any]) -> str:
    """Return an entry's text with `members` set, members of members too, those that are None taken out.

    Comments and the rest stay.
    """
    return _dumped(_set(_yaml().load(text), members))


def read_entry(name: str, text: str, report: Report) -> tuple[CatalogueImage, Document] | None:
    """Check an entry's text as its file is checked when the site is read; `name` is the file's."""
    found = Report()
    document = load(name, text.encode(), found)
    image = parse_as(CatalogueImage, document, found) if document is not None else None
    add_as_site_file(found, report)
    return (image, document) if image is not None and document is not None else None


def _set(entry: CommentedMap, members: Mapping[str, Any]) -> CommentedMap:
    for key, value in members.items():
        if value is None or value == ():
            entry.pop(key, None)
        elif key in entry:
            entry[key] = _node(value, entry[key])
        else:
            before = sum(_ORDER.get(other, 0) < _ORDER.get(key, len(_ORDER)) for other in entry)
            entry.insert(before, key, _node(value, None))
    return entry


def _node(value: Any, present: Any) -> Any:
    """Return a value as it is written: a mapping joins what is present, a list stands on one line."""
    if isinstance(value, Mapping):
        return _set(present if isinstance(present, CommentedMap) else CommentedMap(), value)
    if not isinstance(value, list | tuple):
        return value
    items = CommentedSeq(value)
    items.fa.set_flow_style()
    return items


def _yaml() -> YAML:
    yaml = YAML()  # keeps comments
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    return yaml


def _dumped(entry: CommentedMap) -> str:
    out = io.StringIO()
    _yaml().dump(entry, out)
    return out.getvalue()
