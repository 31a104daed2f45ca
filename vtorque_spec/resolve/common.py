"""What all parts of `resolve` use."""

from typing import TypeVar

from vtorque_spec.diagnostics import Span
from vtorque_spec.document import Path
from vtorque_spec.spec.parse import NormalForm

T = TypeVar("T")


def said(value: T | None) -> T:
    """What the base policy gives every job."""
    if value is None:
        raise LookupError("the base policy lacks a default for a magnitude that every job needs")
    return value


def said_at(normal: NormalForm, *paths: Path) -> Span | None:
    """Return the place of the first of `paths` that the job says itself; None where it says none of them."""
    return next((normal.at(path) for path in paths if path in normal.spans), None)
