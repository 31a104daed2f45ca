"""XML that somebody else wrote: no entities, no endless files, and a place for what is wrong."""

import re
import sys
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, fromstring

from vtorque_spec.site.probe.machine import ProbeError

SIZE_LIMIT_BYTES = 16 * 2**20
"""Ten times what lstopo writes of a machine of 512 threads."""


def read(path: Path) -> bytes:
    """Return what a file holds, of one that is too large its beginning; `-` is standard input. Raises ProbeError."""
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(SIZE_LIMIT_BYTES + 1)
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ProbeError(f"{path}: {(error.strerror or str(error)).lower()}", "name a file that you may read") from None


def parse(raw: bytes, root: str, written_by: str, source: str) -> Element:
    """Return the root of an XML file, an element `root`, which `written_by` (a command) writes. Raises ProbeError."""
    hint = f"write it anew, on the node: {written_by}"
    if len(raw) > SIZE_LIMIT_BYTES:
        raise ProbeError(f"the file has more than {SIZE_LIMIT_BYTES >> 20} MiB", hint, source, 1)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ProbeError("this is no text in UTF-8", hint, source, line) from None
    if "<!ENTITY" in text:  # the only way to define one; lstopo's own document type names a file that is not read
        line = text[: text.index("<!ENTITY")].count("\n") + 1
        raise ProbeError("the file defines entities", hint, source, line)
    try:
        element = fromstring(text)  # noqa: S314 - without entities, and of limited size
    except ParseError as error:
        line, column = error.position
        what = re.sub(r": line \d+, column \d+$", "", str(error))
        raise ProbeError(f"this is no XML: {what}", hint, source, line, column + 1) from None
    if element.tag != root:
        message = f"the XML is a `{element.tag[:40]}`, not the `{root}` of {written_by.split(' >')[0]}"
        raise ProbeError(message, hint, source, 1)
    return element


def number(element: Element, attribute: str, source: str) -> int:
    """Return a number above or at zero. Raises ProbeError."""
    return to_number(element.get(attribute), f"`{attribute}` of a `{element.tag}`", source)


def to_number(text: str | None, what: str, source: str) -> int:
    """Return a number above or at zero; `what` it is. Raises ProbeError."""
    if text is None or not re.fullmatch(r"[0-9]{1,15}", text.strip()):
        shown = "is missing" if text is None else f"is `{text.strip()[:40]}`, not a number"
        raise ProbeError(f"{what} {shown}", "write the file anew", source, 1)
    return int(text)
