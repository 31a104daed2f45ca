"""Values in a policy that its field can never have: `enum`, `const`, and what a `default` becomes in a job."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from vtorque_spec.diagnostics import Code, near_miss
from vtorque_spec.document import Path
from vtorque_spec.policy.lint.kinds import NUMBERS, inside, kind_words
from vtorque_spec.policy.lint.view import View, field_at, members_at, name_of
from vtorque_spec.policy.rules import Place
from vtorque_spec.spec import API_VERSION
from vtorque_spec.spec.fields import ANY, Field, Kind, job_field
from vtorque_spec.spec.parse import parse_normal, reason, shorten
from vtorque_spec.units import QuantityError, parse_duration, parse_size

_PYTHON: dict[Kind, type] = {
    **dict.fromkeys(NUMBERS, int),
    "boolean": bool,
    "text": str,
    "list": list,
    "names": dict,
    "mapping": dict,
}


Wrong = tuple[str, str | None] | None
"""What is wrong and how to mend it; None for nothing."""


def check(view: View) -> None:
    """Look at every value of `enum` and `const`, in rules and in conditions."""
    for place in view.own:
        field = field_at(place.field)
        if field is not None and not _all_of_another_kind(view, place, field):
            for path, value in said_values(place):
                wrong = never(field, value)
                if wrong is not None:
                    view.wrong.add(field.path)
                    message = f"`{name_of(field.path)}` is never {shorten(value)}: {wrong[0]}"
                    view.add(Code.POLICY_VALUE, message, place.document.span(path), wrong[1])


def _all_of_another_kind(view: View, place: Place, field: Field) -> bool:
    """Tell once of several words that are meant for a member, or for the items of a list."""
    words = place.schema.get("enum", ())
    kinds = {kind for word in words for kind in _kinds_of(word)}
    hint = inside(field, "enum", words, tuple(kinds)) if len(words) > 1 and field.kind not in kinds else None
    if hint is not None:
        view.wrong.add(field.path)
        message = f"`{name_of(field.path)}` is never one of these: it is {kind_words(field)}"
        view.add(Code.POLICY_VALUE, message, place.document.span((*place.path, "enum")), hint)
    return hint is not None


def said_values(place: Place) -> Iterator[tuple[Path, Any]]:
    """Yield each value of `const` and `enum` with its place in the file."""
    if "const" in place.schema:
        yield (*place.path, "const"), place.schema["const"]
    for index, value in enumerate(place.schema.get("enum", ())):
        yield (*place.path, "enum", index), value


def never(field: Field, value: Any) -> Wrong:
    """Return why a field of the normal form never has a value, and what was probably meant; None if it may have it."""
    kind = _PYTHON[field.kind]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        hint = _with_unit(field, value) or inside(field, "const", value, _kinds_of(value)) or _quotes(field, value)
        return f"it is {kind_words(field)}", hint
    if field.words and value not in field.words:
        meant = near_miss(str(value), map(str, field.words))
        words = ", ".join(map(str, field.words))
        return f"the words are {words}", f"write `{meant}`" if meant else None
    low, high = field.minimum, field.maximum
    if isinstance(value, int) and ((low is not None and value < low) or (high is not None and value > high)):
        return "the language allows " + (
            f"{low} at least" if low is not None and value < low else f"{high} at most"
        ), None
    if field.path[0] == "context":
        return None
    return in_a_job(field.path, value)[1]


def _kinds_of(value: Any) -> tuple[Kind, ...]:
    return tuple(kind for kind, python in _PYTHON.items() if type(value) is python)


def _with_unit(field: Field, value: Any) -> str | None:
    """Values of the normal form have no unit; the limits that take one are keywords of their own."""
    parse = {"size": parse_size, "duration": parse_duration}.get(field.kind)
    if parse is None or not isinstance(value, str):
        return None
    try:
        number = parse(value)
    except QuantityError as error:
        return error.help
    words = "minQuantity and maxQuantity" if field.kind == "size" else "minDuration and maxDuration"
    return f"write {number}, which is {value}; limits with a unit are {words}"


def _quotes(field: Field, value: Any) -> str | None:
    if field.kind in NUMBERS and isinstance(value, str) and value.isdecimal():
        return f"write {value} without quotes"
    if field.kind == "text" and isinstance(value, int | float):
        return f'write "{str(value).lower() if isinstance(value, bool) else value}" in quotes'
    return None


def in_a_job(path: Path, value: Any) -> tuple[Any, Wrong]:
    """Return a value, said in a job at `path`, in its normal form; and why the language refuses it, if it does."""
    job: dict[str, Any] = {
        "apiVersion": API_VERSION, "name": "x", "image": {"name": "x"}, "run": {"text": ":"}, **_nested(path, value)
    }  # fmt: skip
    try:
        data = parse_normal(job).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        at = tuple("X" if part == ANY else part for part in path)
        for item in error.errors(include_url=False):
            found = tuple("X" if isinstance(part, int) else part for part in item["loc"])
            if found[: len(at)] == at:
                return value, (reason(item), item.get("ctx", {}).get("help"))
        return value, None  # what is wrong is what it lacks beside it
    return next((found for _, found in members_at(data, path)), value), None


def _nested(path: Path, value: Any) -> dict[str, Any]:
    for index in range(len(path) - 1, 0, -1):
        above = job_field(path[:index])
        of_list = above is not None and above.kind == "list"
        value = [value] if of_list else {"X" if path[index] == ANY else str(path[index]): value}
    return {str(path[0]): value}
