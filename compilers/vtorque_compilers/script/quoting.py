"""The filters through which every value enters a batch script."""

import re

from vtorque_spec.fault import Fault

_DIRECTIVE = re.compile(r"""[^\x00-\x20"#'\\\x7f-\U0010ffff]+""")
_FEATURE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(=[A-Za-z0-9_][A-Za-z0-9_.@/-]*)?")
_JOB_ID = re.compile(r"[0-9]+(\[[0-9]*\]|_[0-9]+)?(\.[A-Za-z0-9.-]+)?")
_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(@[A-Za-z0-9][A-Za-z0-9.-]*)?")
_ESCAPED = re.compile(r"[^\t -~]")


def directive(value: str | int) -> str:
    """Return a value of a `#PBS` or `#SBATCH` line: one word of printable ASCII.

    None of the characters by which qsub and sbatch quote; nor `#`, at which sbatch ends a line. Raises Fault VT0603.
    """
    if not _DIRECTIVE.fullmatch(str(value)):
        raise cannot_carry(str(value), "use printable ASCII without blanks, quotes, backslashes and #")
    return str(value)


def feature(value: str) -> str:
    """Return a node property of Torque's or a feature of Slurm's: none of the signs that join several.

    Raises Fault VT0603.
    """
    if not _FEATURE.fullmatch(value):
        raise cannot_carry(value, "a property of nodes is a letter or _, then letters, digits and . _ -")
    return value


def resource(value: str) -> str:
    """Return OpenPBS's request for a resource of nodes; a bare name is one that is true or false.

    Raises Fault VT0603.
    """
    if not _RESOURCE.fullmatch(value):
        raise cannot_carry(value, "a property of nodes is the NAME of a resource, or NAME=VALUE")
    return value if "=" in value else f"{value}=True"


def job_id(value: str) -> str:
    """Return a job's id: none of the signs that join several. Raises Fault VT0603."""
    if not _JOB_ID.fullmatch(value):
        raise cannot_carry(value, "a job id is what the batch system printed")
    return value


def address(value: str) -> str:
    """Return a user or a mail address: none of the signs that join several. Raises Fault VT0603."""
    if not _ADDRESS.fullmatch(value):
        raise cannot_carry(value, "a mail address is a user's name, or USER@HOST")
    return value


def pattern(path: str) -> str:
    """Return a path where sbatch takes a pattern (`%j` is the job's number), so that it means itself."""
    return path.replace("%", "%%")


def units(size_bytes: int, unit_bytes: int) -> int:
    """Return a size in whole units, rounded up."""
    return -(-size_bytes // unit_bytes)


def comment(text: str) -> str:
    r"""Return `text` as comment lines: only `\n` ends a line; what is not ASCII or would end one is escaped."""
    return "\n".join(f"# | {_ESCAPED.sub(_escape, line)}".rstrip() for line in text.removesuffix("\n").split("\n"))


def fold(part: str) -> str:
    """Return base64 in lines of 76 columns."""
    return "\n".join(part[start : start + 76] for start in range(0, len(part), 76))


def cannot_carry(value: str, mend: str) -> Fault:
    """Return the finding for a value that no directive can have."""
    shown = value if len(value) <= 60 else value[:57] + "..."
    return Fault("VT0603", f"a batch directive cannot carry {shown!a}", help=mend)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
