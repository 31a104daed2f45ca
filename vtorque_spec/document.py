"""YAML text -> Document: plain data beside the place of every key and value.

The text is read as events of libyaml, so that limits hold while reading and every node has its marks. The language is a
strict subset of YAML 1.2 (core schema): one document, a mapping at the top, no anchors, aliases or tags, no duplicate
keys, no numbers with leading zeros, underscores or a base. (Plain `02:00:00` is text, as YAML 1.2 has it.)
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLStreamError

from vtorque_spec.diagnostics import Code, Note, Report, Span
from vtorque_spec.yaml_words import AT_THE_START, PROBLEMS, STARTS

Path = tuple[str | int, ...]
"""Where a value stands in the data: ``("batch", "nodes")``, ``("mounts", 0)``."""

SIZE_LIMIT_BYTES = 256 * 1024
DEPTH_LIMIT = 32
NODE_LIMIT = 4096
SCALAR_LIMIT_BYTES = 64 * 1024
INTEGER_LIMIT = 2**53
DIGITS_LIMIT = 80  # in whatever notation
CONTROL_LIMIT = 100  # findings of control characters

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNCLEAR = re.compile(r"[-+]?(0[0-9]+|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*_[0-9_]*)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None,
          "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}  # fmt: skip

_INIT = "`vtorque init` writes a commented job file to start from"


@dataclass(frozen=True, slots=True)
class Document:
    """One file: its text, its data, and where each value (`values`) and each mapping's key (`keys`) stands."""

    name: str
    text: str
    data: dict[str, Any]
    values: Mapping[Path, Span]
    keys: Mapping[Path, Span]
    literals: frozenset[Path] = frozenset()
    lines: list[str] = field(default_factory=list)

    def span(self, path: Path) -> Span:
        """Return the place of the value at `path`, or of its nearest ancestor that is in the file."""
        while path not in self.values and path:
            path = path[:-1]
        return self.values[path]

    def key_span(self, path: Path) -> Span:
        """Return the place of the key that leads to `path`; of the value where there is no key (a list's item)."""
        return self.keys.get(path) or self.span(path)

    def text_span(self, path: Path, line: int, column: int, length: int) -> Span:
        """Return the place of `length` characters inside the text at `path`, at its own `line` and `column` from 0.

        Exact for literal blocks (``|``) and for scalars on one line; otherwise the whole scalar.
        """
        whole = self.span(path)
        if path in self.literals:
            at = whole.line + line
            indent = self._indentation(path)
            return Span(self.name, at + 1, indent + column + 1, at + 1, indent + column + length + 1)
        if whole.line == whole.end_line and line == 0:
            written = self.lines[whole.line - 1][whole.column - 1 : whole.end_column - 1]
            quote = written[:1] in ("'", '"')
            if quote and ("\\" in written or "''" in written):  # an escape is longer than what it stands for
                return whole
            start = whole.column + quote + column
            return Span(self.name, whole.line, start, whole.line, start + length)
        return whole

    def _indentation(self, path: Path) -> int:
        """Columns that every line of a literal block is indented by: its first line that is not blank tells."""
        block = self.values[path]
        text: Any = self.data
        for part in path:
            text = text[part]
        for written, line in zip(self.lines[block.line :], str(text).split("\n"), strict=False):
            if line.strip():
                return len(written) - len(line)
        return 0


def read(path: FilePath, report: Report, name: str | None = None) -> Document | None:
    """Read and parse a file; `name` is how findings call it (default: the path as given)."""
    name = name or str(path)
    try:
        if path.is_fifo() and not path.is_symlink():  # nobody may ever write to it; a shell's <(...) is a link
            raise OSError("is no regular file")
        with path.open("rb") as stream:
            raw = stream.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        report.add(Code.UNREADABLE, f"{name}: {(error.strerror or str(error)).lower()}", Span(name, 1, 1, 1, 1))
        return None
    return load(name, raw, report)


def load(name: str, raw: bytes, report: Report) -> Document | None:
    """Parse the bytes of one file. Adds every finding to `report`; returns None when there is an error."""
    before = len(report.items)
    text = _decode(name, raw, report)
    if text is None:
        return None
    builder = _Builder(name, text, report)
    builder.check_characters()
    if len(report.items) == before:
        builder.build()
    if len(report.items) > before:
        return None
    return Document(name, text, builder.data, builder.values, builder.keys, frozenset(builder.literals), builder.lines)


def _lines(text: str) -> list[str]:
    return re.split("\r\n|\r|\n", text)


def _decode(name: str, raw: bytes, report: Report) -> str | None:
    start = Span(name, 1, 1, 1, 1)
    if len(raw) > SIZE_LIMIT_BYTES:
        report.add(Code.LIMIT, f"the file has more than {SIZE_LIMIT_BYTES // 1024} KiB", start)
        return None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = _lines(raw[: error.start].decode("utf-8").removeprefix("\ufeff"))
        place = Span(name, len(before), len(before[-1]) + 1, len(before), len(before[-1]) + 2)
        report.add(Code.NOT_UTF8, f"byte 0x{raw[error.start]:02x} is not UTF-8", place, help="save the file as UTF-8")
        return None
    return text.removeprefix("\ufeff")


class _Builder:
    """Turns events into data and spans. Findings go to the report; a node with one becomes None."""

    def __init__(self, name: str, text: str, report: Report) -> None:
        self.name, self.text, self.report = name, text, report
        self.lines = _lines(text)
        self.data: dict[str, Any] = {}
        self.values: dict[Path, Span] = {}
        self.keys: dict[Path, Span] = {}
        self.literals: set[Path] = set()
        self.nodes = 0

    def check_characters(self) -> None:
        found = ((number, one) for number, line in enumerate(self.lines, 1) for one in _CONTROL.finditer(line))
        for count, (number, match) in enumerate(islice(found, CONTROL_LIMIT + 1)):
            place = Span(self.name, number, match.start() + 1, number, match.end() + 1)
            more = f"more than {CONTROL_LIMIT} control characters"
            what = more if count == CONTROL_LIMIT else f"the control character U+{ord(match[0]):04X}"
            self.report.add(Code.CONTROL_CHARACTER, f"the file holds {what}", place, help="remove it")

    def build(self) -> None:
        try:
            self._documents(YAML(typ="safe").parse(self.text))
        except _Stop:
            pass
        except MarkedYAMLError as error:
            self._syntax(error)
        except YAMLStreamError as error:
            self.report.add(Code.YAML_SYNTAX, str(error), Span(self.name, 1, 1, 1, 1))

    def _documents(self, events: Iterator[Any]) -> None:
        next(events)  # the stream's start
        first = next(events)
        if type(first).__name__ == "StreamEndEvent":
            self._stop(Code.EMPTY_FILE, "the file is empty", first, help=_INIT)
        if first.version or first.tags:
            hint = "remove the lines that start with %"
            self._add(Code.TAG, "the file starts with a YAML directive", first, help=hint)
        root = next(events)
        if type(root).__name__ != "MappingStartEvent":
            kind = {"SequenceStartEvent": "a list", "AliasEvent": "an alias"}.get(type(root).__name__, "a single value")
            empty = type(root).__name__ == "ScalarEvent" and root.value == "" and not root.style
            if empty:
                self._stop(Code.EMPTY_FILE, "the file holds no data", first, help=_INIT)
            self._stop(
                Code.NOT_A_MAPPING, f"the top level is {kind}, not a mapping", root, help="write lines of `key: value`"
            )
        self.data = self._node(root, events, ())
        next(events)  # the document's end
        second = next(events)
        if type(second).__name__ != "StreamEndEvent":
            self._stop(Code.SEVERAL_DOCUMENTS, "a second document starts here", second, help="one file, one document")

    # --- nodes ------------------------------------------------------------------------------------------------------

    def _node(self, event: Any, events: Iterator[Any], path: Path) -> Any:
        self.nodes += 1
        if self.nodes > NODE_LIMIT:
            self._stop(Code.LIMIT, f"the file has more than {NODE_LIMIT} values", event)
        if len(path) >= DEPTH_LIMIT:
            self._stop(Code.LIMIT, f"values are nested more than {DEPTH_LIMIT} deep", event)
        kind = type(event).__name__
        if kind == "AliasEvent":
            self._add(Code.ANCHOR, f"the language has no aliases: `*{event.anchor}`", event, help="write the value out")
            return None
        self._plainness(event)
        self.values[path] = self._span(event)
        if kind == "ScalarEvent":
            if event.style == "|":
                self.literals.add(path)
            return self._scalar(event)
        data = self._mapping(events, path) if kind == "MappingStartEvent" else self._sequence(events, path)
        self.values[path] = self._extent(event, path, data)
        return data

    def _mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while type(event := next(events)).__name__ != "MappingEndEvent":
            key = self._key(event, events, path)
            inner = (*path, key)
            if key in data:
                first = Note(f"`{key}` is first said here", self.keys[inner])
                self._add(Code.DUPLICATE_KEY, f"the key `{key}` is there twice", event, notes=[first], help="keep one")
                self._node(next(events), events, (*path, f"{key} (again)"))
                continue
            self.keys[inner] = self._span(event)
            data[key] = self._node(next(events), events, inner)
        self.end = event
        return data

    def _sequence(self, events: Iterator[Any], path: Path) -> list[Any]:
        data: list[Any] = []
        while type(event := next(events)).__name__ != "SequenceEndEvent":
            data.append(self._node(event, events, (*path, len(data))))
        self.end = event
        return data

    def _key(self, event: Any, events: Iterator[Any], path: Path) -> str:
        if type(event).__name__ != "ScalarEvent":
            hint = "write `key: value` with a plain word as key"
            self._add(Code.BAD_KEY, "a key is not plain text", event, help=hint)
            if type(event).__name__ != "AliasEvent":
                self._node(event, events, (*path, "?"))
            return f"?{event.start_mark.index}"
        self._plainness(event)
        before = len(self.report.items)
        value = self._scalar(event)
        if not isinstance(value, str) and len(self.report.items) == before:
            shown = event.value or "(nothing)"
            hint = f'write "{event.value}" in quotes' if event.value else "write a key before the colon"
            self._add(Code.BAD_KEY, f"the key `{shown}` is not text", event, help=hint)
        return str(event.value)

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if len(text) > SCALAR_LIMIT_BYTES or len(text.encode()) > SCALAR_LIMIT_BYTES:
            self._add(Code.LIMIT, f"the text has more than {SCALAR_LIMIT_BYTES // 1024} KiB", event)
            return None
        if "\0" in text:  # written as an escape
            self._add(Code.CONTROL_CHARACTER, "the text holds the character U+0000", event, help="remove the `\\0`")
            return None
        if not event.implicit[0] or event.style:  # quoted, a block, or tagged
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text) or (len(text) > DIGITS_LIMIT and _UNCLEAR.fullmatch(text)):
            return self._integer(text, event)
        if _UNCLEAR.fullmatch(text):
            hint = f'write {_decimal(text)} for the number, or "{text}" for the text'
            self._add(Code.UNCLEAR_NUMBER, f"`{text}` is not the same number to every program", event, help=hint)
            return None
        if _FLOAT.fullmatch(text):
            return float(text.replace(".inf", "inf").replace(".nan", "nan")) if text[-1:].isdigit() else text
        return text

    def _integer(self, text: str, event: Any) -> int | None:
        if len(text) > 17 or abs(int(text)) >= INTEGER_LIMIT:
            self._add(Code.LIMIT, "the number is not below 2^53", event, help="put it in quotes if it is text")
            return None
        return int(text)

    def _plainness(self, event: Any) -> None:
        if event.anchor is not None:
            message = f"the language has no anchors: `&{event.anchor}`"
            self._add(Code.ANCHOR, message, event, help="remove it, and write values out")
        if event.tag is not None:
            message = f"the language has no tags: `{event.tag.replace('tag:yaml.org,2002:', '!!')}`"
            self._add(Code.TAG, message, event, help="remove it; quote the value if it is text")

    # --- places -----------------------------------------------------------------------------------------------------

    def _place(self, mark: Any) -> tuple[int, int]:
        """Line and column from 1. libyaml puts the end of a file without a last newline on a line that is not there."""
        if mark.line < len(self.lines):
            return mark.line + 1, min(mark.column, len(self.lines[mark.line])) + 1
        return len(self.lines), len(self.lines[-1]) + 1

    def _span(self, event: Any) -> Span:
        line, column = self._place(event.start_mark)
        end_line, end_column = self._place(event.end_mark)
        if getattr(event, "style", None) in ("|", ">"):
            end_line = max(end_line - 1, line) if event.end_mark.column == 0 else end_line
            end_column = len(self.lines[end_line - 1]) + 1
        return Span(self.name, line, column, end_line, end_column)

    def _character(self, mark: Any) -> Span:
        line, column = self._place(mark)
        return Span(self.name, line, column, line, min(column, len(self.lines[line - 1])) + 1)

    def _extent(self, start: Any, path: Path, data: Any) -> Span:
        """A flow collection ends at its bracket; a block ends with its last member."""
        opened = self._span(start)
        if start.flow_style or not data:
            end = self._span(self.end)
            return Span(self.name, opened.line, opened.column, end.end_line, end.end_column)
        last = self.values.get((*path, next(reversed(data)) if isinstance(data, dict) else len(data) - 1), opened)
        return Span(self.name, opened.line, opened.column, last.end_line, last.end_column)

    def _add(self, code: Code, message: str, event: Any, **more: Any) -> None:
        self.report.add(code, message, self._span(event), **more)

    def _stop(self, code: Code, message: str, event: Any, **more: Any) -> None:
        self._add(code, message, event, **more)
        raise _Stop

    def _syntax(self, error: MarkedYAMLError) -> None:
        mark, start = error.problem_mark or error.context_mark, error.context_mark
        place, notes = self._character(mark), []
        line = self.lines[place.line - 1]
        if line[place.column - 1 : place.column] == "\t" or "tab character" in (error.problem or ""):
            self.report.add(Code.TAB, "a tab is used as indentation", place, help="indent with spaces")
            return
        message, hint = PROBLEMS.get(error.problem, (str(error.problem or error), None))
        if start is not None and (error.problem in AT_THE_START or (start.line < mark.line and not line.strip())):
            place = self._character(start)
        elif start is not None and error.context in STARTS:
            notes = [Note(STARTS[error.context], self._character(start))]
        self.report.add(Code.YAML_SYNTAX, message, place, notes=notes, help=hint)


def _decimal(text: str) -> int:
    """Read an unclear number the likeliest way: a prefix names its base, leading zeros mean nothing."""
    digits = text.replace("_", "")
    return int(digits, 0) if digits.lstrip("+-")[1:2].isalpha() else int(digits)


class _Stop(Exception):  # noqa: N818 - ends the walk, tells of no error
    """Nothing below this place can be read."""
