"""A baseline: the findings that are known and let be, so that only new ones are reported.

The file is JSON, one entry after the other in the order of files and codes, for diffs that people read:
``{"version": 1, "findings": [{"file", "code", "message", "fingerprint"}, ...]}``. Only the fingerprint counts.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtorque_spec.diagnostics import Diagnostic
from vtorque_spec.fault import Fault
from vtorque_spec.fingerprint import fingerprints, relative

VERSION = 1
_HINT = "write it anew: vtorque lint --write-baseline FILE PATHS"
_MEMBERS = {"file", "code", "message", "fingerprint"}


@dataclass(slots=True)
class Baseline:
    """Known findings: fingerprint -> file. `met` collects those that still occur."""

    known: dict[str, str] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)

    def unknown(self, items: Sequence[Diagnostic], sources: Mapping[str, list[str]]) -> list[Diagnostic]:
        """Return the findings that are not known yet."""
        marks = fingerprints(items, sources)
        self.met.update(mark for mark in marks if mark in self.known)
        return [item for item, mark in zip(items, marks, strict=True) if mark not in self.known]

    def gone(self, files: Collection[str]) -> int:
        """Return how many entries no longer occur: of files that were checked, or that are not there any more."""
        checked = {relative(file) for file in files}
        left = [file for mark, file in self.known.items() if mark not in self.met]
        return sum(file in checked or not Path(file).exists() for file in left)


def read(path: Path) -> Baseline:
    """Read a baseline; raises Fault."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Fault("VT0805", f"{path}: {(error.strerror or str(error)).lower()}") from None
    except json.JSONDecodeError as error:
        raise Fault("VT0805", f"{path}:{error.lineno}:{error.colno}: this is no JSON", help=_HINT) from None
    except (ValueError, RecursionError):
        raise Fault("VT0805", f"{path}: this is no JSON", help=_HINT) from None
    if not isinstance(data, dict) or not isinstance(data.get("findings"), list):
        raise Fault("VT0805", f"{path}: this is no baseline of vtorque's", help=_HINT)
    if data.get("version") != VERSION:
        raise Fault("VT0805", f"{path}: the version is not {VERSION}", help=_HINT)
    for number, entry in enumerate(data["findings"], 1):
        if not isinstance(entry, dict) or set(entry) != _MEMBERS or not all(isinstance(v, str) for v in entry.values()):
            members = ", ".join(sorted(_MEMBERS))
            raise Fault("VT0805", f"{path}: entry {number} does not have the members {members}", help=_HINT)
    return Baseline({entry["fingerprint"]: entry["file"] for entry in data["findings"]})


def text_of(items: Sequence[Diagnostic], sources: Mapping[str, list[str]]) -> str:
    """Return the baseline in which all these findings are known."""
    entries = [
        {
            "file": relative(item.span.file) if item.span else "",
            "code": item.id,
            "message": item.message,
            "fingerprint": mark,
        }
        for item, mark in zip(items, fingerprints(items, sources), strict=True)
    ]
    entries.sort(key=lambda entry: tuple(entry.values()))
    return json.dumps({"version": VERSION, "findings": entries}, indent=2, ensure_ascii=False) + "\n"
