"""Document -> JobSpec, or located findings; and the normal form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vtorque_spec.diagnostics import Code, Fix, Report, Span, near_miss
from vtorque_spec.document import Document, Path
from vtorque_spec.spec import API_VERSION, JobSpec

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class NormalForm:
    """The job as said, sugar expanded, sizes in bytes, durations in seconds; `spans` leads each path to the file."""

    data: dict[str, Any]
    spans: Mapping[Path, Span]

    def at(self, path: Path) -> Span | None:
        """Return the place of `path` or of its nearest ancestor; None where there is no file (on a node)."""
        while path and path not in self.spans:
            path = path[:-1]
        return self.spans.get(path)


def parse_job(document: Document, report: Report) -> JobSpec | None:
    """Check a job file against the language; adds every finding."""
    return parse_as(JobSpec, document, report)


def parse_as(model: type[M], document: Document, report: Report) -> M | None:
    """Check a file against a model; None when there is a finding."""
    nulls = [path for path in paths_of(document.data) if path and value_at(document.data, path) is None]
    for path in nulls:
        report.add(
            Code.NO_VALUE,
            f"`{label(path)}` has no value",
            document.key_span(path),
            help='give it one ("" is an empty text), or remove the line',
        )
    try:
        spec = model.model_validate(document.data)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            if not any(_follows(item, path) for path in nulls):
                _translate(item, model, document, report)
        return None
    return None if nulls else spec


def _follows(item: Any, null: Path) -> bool:
    """Whether an error only says again that there is nothing at `null`."""
    path = tuple(item["loc"])
    return path[: len(null)] == null or (item["type"] == "exactly_one" and null[: len(path)] == path)


def normal_form(spec: JobSpec, document: Document) -> NormalForm:
    """Return the normal form with its map back to the file."""
    data = spec.model_dump(mode="json", exclude_unset=True)
    return NormalForm(data, {path: document.span(path) for path in paths_of(data)})


def parse_normal(data: Mapping[str, Any]) -> JobSpec:
    """Read a normal form (or one with defaults still in their own spelling); raises pydantic's ValidationError."""
    return JobSpec.model_validate(data, context={"normal": True})


def paths_of(data: object, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every value in `data`, parents first."""
    yield path
    members: Any = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in members:
        if isinstance(value, dict | list):
            yield from paths_of(value, (*path, key))
        else:
            yield (*path, key)


def value_at(data: Any, path: Path) -> Any:
    """Return the value at `path`; raises KeyError or IndexError."""
    for part in path:
        data = data[part]
    return data


def label(path: Path) -> str:
    """Return a path as people write it: ``mounts[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


# --- pydantic's errors in our words -----------------------------------------------------------------------------------

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
}


def _translate(item: Any, model: type[BaseModel], document: Document, report: Report) -> None:
    kind, path, context = item["type"], tuple(item["loc"]), item.get("ctx", {})
    on_key = path[-1:] == ("[key]",)
    path = path[:-1] if on_key else path
    shown = label(_in_file(path, document))
    span = document.key_span(path) if on_key else document.span(path)
    if kind == "missing":
        _missing(path, document, report)
    elif kind == "extra_forbidden":
        known = model_at(model, path[:-1])
        top = model is JobSpec and len(path) == 1
        _unknown(path, list(known.model_fields) if known else [], document, report, top=top)
    elif kind == "literal_error" and on_key:
        _unknown(path, _words(context), document, report)
    elif kind == "literal_error":
        _not_allowed(path, item["input"], _words(context), document, report)
    elif kind in _KINDS:
        keys = model_at(model, path) if kind == "model_type" else None
        names = list(keys.model_fields) if keys else []
        _wrong_type(_KINDS[kind], item["input"], shown, names, span, _written(span, document), report)
    elif kind == "quantity":
        fix = Fix(span, context["exact"]) if context.get("exact") else None
        report.add(Code.BAD_QUANTITY, f"`{shown}`: {item['msg']}", span, help=context["help"], fix=fix)
    elif kind == "exactly_one":
        message = f"`{shown}`: {item['msg']}" if shown else item["msg"]
        report.add(Code.EXACTLY_ONE, message, document.key_span(path), help=context["help"])
    elif kind == "form":
        report.add(Code.BAD_FORMAT, f"`{shown}`: {item['msg']}", span, help=context["help"])
    elif kind in _BOUNDS:
        words, member = _BOUNDS[kind]
        written = value_at(document.data, path)  # a quantity has its unit there; in the model its limit has none
        why = "which is too large" if isinstance(written, str) else f"{words} {context[member]} is allowed"
        report.add(Code.OUT_OF_RANGE, f"`{shown}` is {written}, {why}", span)
    elif kind == "too_short":
        if item["input"]:  # its items are wrong, and that is told
            return
        report.add(Code.BAD_LENGTH, f"`{shown}` is an empty list", span, help="write one item at least")
    else:
        report.add(Code.BAD_FORMAT, f"`{shown}`: {item['msg'].lower()}", span)


_BOUNDS = {
    "greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le"), "less_than": ("less than", "lt"),
}  # fmt: skip


def _in_file(path: Path, document: Document) -> Path:
    while path and path not in document.values:
        path = path[:-1]
    return path


def _missing(path: Path, document: Document, report: Report) -> None:
    owner = _in_file(path[:-1], document)
    where = f" in `{label(owner)}`" if owner else ""
    span = document.key_span(owner) if owner else Span(document.name, 1, 1, 1, 1)
    value = API_VERSION if path == ("apiVersion",) else "..."
    report.add(Code.MISSING_KEY, f"the key `{path[-1]}` is missing{where}", span, help=f"add `{path[-1]}: {value}`")


def _unknown(path: Path, names: list[str], document: Document, report: Report, *, top: bool = False) -> None:
    from vtorque_spec.spec import fixes  # here and below: a file without errors does not pay for it

    word, span, there = str(path[-1]), document.key_span(path), value_at(document.data, _in_file(path[:-1], document))
    free = [name for name in names if name not in there]
    elsewhere = fixes.ELSEWHERE.get(word) if top else None
    sure = None if elsewhere else fixes.key_of(word, free, set(there) - set(names), fixes.RENAMED if top else {})
    meant = sure or near_miss(word, free)
    hint = elsewhere or (f"write `{meant}`" if meant else f"the keys here are {', '.join(names)}")
    fix = Fix(span, sure) if sure else None
    report.add(Code.UNKNOWN_KEY, f"the key `{word}` is not known", span, help=hint, fix=fix)


def _words(context: Any) -> list[str]:
    """Return the words of a Literal, which pydantic tells as ``'a', 'b' or 'c'``."""
    return [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]


def _not_allowed(path: Path, found: object, words: list[str], document: Document, report: Report) -> None:
    shown, span = label(_in_file(path, document)), document.span(path)
    if path == ("apiVersion",):
        message = f"{shorten(found)} is not a version that this program reads"
        report.add(Code.API_VERSION, message, span, help=f"write {words[0]}")
        return
    from vtorque_spec.spec import fixes

    sure = fixes.typo_of(found, words) if isinstance(found, str) else None
    meant = sure or (near_miss(found, words) if isinstance(found, str) else None)
    meant = meant or (words[0] if len(words) == 1 else None)
    hint = f"write `{meant}`" if meant else f"the words are {', '.join(words)}"
    fix = Fix(span, sure) if sure else None
    report.add(Code.NOT_ALLOWED_WORD, f"`{shown}` cannot be {shorten(found)}", span, help=hint, fix=fix)


def _written(span: Span, document: Document) -> str:
    """Return the text at a place of the file as it is written; empty where it has several lines."""
    line = document.lines[span.line - 1]
    return line[span.column - 1 : span.end_column - 1] if span.line == span.end_line else ""


def _wrong_type(
    wanted: str, found: object, shown: str, keys: list[str], span: Span, written: str, report: Report
) -> None:
    from vtorque_spec.spec import fixes

    sure = fixes.retyped(wanted, found, written)
    hint = f"its keys are {', '.join(keys)}" if keys else None
    what = f"the text {shorten(found)}" if isinstance(found, str) else shorten(found)
    if sure:
        unquoted = wanted == "a whole number" and isinstance(found, str)
        hint = f"write {sure}" + (" in quotes" if wanted == "text" else " without quotes" if unquoted else "")
    elif wanted == "a list" and not isinstance(found, dict):
        hint = f"write [{found}]"
    fix = Fix(span, sure) if sure else None
    report.add(Code.WRONG_TYPE, f"`{shown}` is {what}, {wanted} is needed", span, help=hint, fix=fix)


def reason(item: Any) -> str:
    """Return one of pydantic's errors in our words, without its place."""
    kind = item["type"]
    if kind == "extra_forbidden":
        return "the language has no such key"
    if kind == "literal_error":
        return f"{shorten(item['input'])} is not one of {', '.join(_words(item['ctx']))}"
    if kind in _BOUNDS:
        words, member = _BOUNDS[kind]
        return f"{shorten(item['input'])} is given, {words} {item['ctx'][member]} is allowed"
    return f"{_KINDS[kind]} is needed, not {shorten(item['input'])}" if kind in _KINDS else str(item["msg"])


def shorten(value: object) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = f"`{value}`" if isinstance(value, str) else str(value)
    return text if len(text) <= 50 else text[:46] + "...`"


def model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Return the model that describes the mapping at `path`, looking through lists, mappings and `X | None`."""
    current: Any = model
    for part in path:
        if isinstance(part, str) and _is_model(current) and part in current.model_fields:
            current = current.model_fields[part].annotation
        current = _innermost(current)
    return current if _is_model(current) else None


def _innermost(kind: Any) -> Any:
    arguments = [arg for arg in getattr(kind, "__args__", ()) if arg is not type(None) and arg is not ...]
    return _innermost(arguments[-1]) if arguments and not _is_model(kind) else kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
