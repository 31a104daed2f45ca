"""The filters through which every value enters a batch script."""

import re

from vtorque_spec.fault import Fault

_DIRECTIVE = re.compile(r"""[^\x00-\x20"'\\\x7f-\U0010ffff]+""")
_ESCAPED = re.compile(r"[^\t -~]")


def directive(value: str | int) -> str:
    """Return a value of a `#PBS` line: one word of printable ASCII, and none of qsub's own quoting characters.

    Raises Fault VT0603.
    """
    text = str(value)
    if not _DIRECTIVE.fullmatch(text):
        shown = text if len(text) <= 60 else text[:57] + "..."
        mend = "use printable ASCII without blanks, quotes and backslashes"
        raise Fault("VT0603", f"a #PBS line cannot carry {shown!a}", help=mend)
    return text


def comment(text: str) -> str:
    r"""Return `text` as comment lines: only `\n` ends a line; what is not ASCII or would end one is escaped."""
    return "\n".join(f"# | {_ESCAPED.sub(_escape, line)}".rstrip() for line in text.removesuffix("\n").split("\n"))


def fold(part: str) -> str:
    """Return base64 in lines of 76 columns."""
    return "\n".join(part[start : start + 76] for start in range(0, len(part), 76))


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
