"""What a Capstan package says of itself: meta/package.yaml and meta/run.yaml.

https://github.com/cloudius-systems/capstan, core/package.go and runtime/parser.go. Capstan writes each config set of
run.yaml into the image as /run/NAME, so that its name is all that a job has to say.
"""

import contextlib
import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Document, read
from vtorque_spec.fault import Fault

_RUNTIMES = ("native", "node", "java", "python")
_NEEDED = ("name", "title", "author")
_PACKAGE = "a package has meta/package.yaml, and meta/run.yaml if it can be run"
_PLAIN = "vtorque reads plain YAML, of 256 KiB at most: mend the line, or make the file smaller"
_HELP = {
    Code.UNREADABLE: _PACKAGE,
    Code.EMPTY_FILE: _PACKAGE,
    Code.UNCLEAR_NUMBER: "put it in quotes, or write it as a decimal number",
}
"""Where that of a job file would not fit."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PACKAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


@dataclass(frozen=True, slots=True)
class Package:
    """A package in `directory`; `config_sets` are the names of what can be run in its image."""

    directory: Path
    name: str
    title: str
    config_sets: tuple[str, ...]

    def disk(self) -> Path:
        """Return the disk that Capstan has composed: one in the directory, else the one in its repository.

        Raises Fault VT0524 when there is none, or more than one.
        """
        root = Path(os.environ.get("CAPSTAN_ROOT") or f"{_home(self.directory)}/.capstan")
        composed = root / "repository" / self.name / f"{Path(self.name).name}.qemu"
        found = sorted(path for ending in ("*.qemu", "*.qcow2") for path in self.directory.glob(ending))
        found = found or [path for path in (composed,) if path.is_file()]
        if len(found) != 1:
            there = " and ".join(map(str, found)) or f"neither {self.directory} nor {root / 'repository'} has its disk"
            hint = f"compose it (capstan package compose {self.name}), or name the disk: vtorque image add NAME FILE"
            raise Fault("VT0524", f"there is no one disk of the package `{self.name}`: {there}", help=hint)
        return found[0]


def read_package(directory: Path) -> Package:
    """Read a package's directory.

    Raises Fault VT0524 for what Capstan would not take either, and for YAML that only its reader takes.
    """
    path = directory / "meta" / "package.yaml"
    about = _read(path).data
    for key in _NEEDED:
        if not _is_text(about.get(key)):
            raise _fault(f"{path} has no {key}", f"Capstan needs {', '.join(_NEEDED)}, each a text")
    if not _PACKAGE_NAME.fullmatch(about["name"]):
        raise _fault(f"{path}: `{about['name']}` is not a name", "a package is called NAME or OWNER/NAME")
    run = directory / "meta" / "run.yaml"
    names = _config_sets(run, _read(run).data) if os.path.lexists(run) else ()
    return Package(directory, about["name"], " ".join(about["title"].split()), names)


def _config_sets(path: Path, data: dict[str, Any]) -> tuple[str, ...]:
    if data.get("runtime") not in _RUNTIMES:
        raise _fault(f"{path} has no runtime that is known", f"runtimes are {', '.join(_RUNTIMES)}")
    sets = data.get("config_set")
    if not isinstance(sets, dict) or not sets:
        raise _fault(f"{path} has no config_set", "Capstan needs at least one, as in config_set: {hello: {bootcmd: …}}")
    for name, said in sets.items():
        if not _NAME.fullmatch(name):
            raise _fault(f"{path}: `{name}` is not a name", "use letters, digits, dots, _ and -, at most 63")
        runs = [said.get(key) for key in ("bootcmd", "base")] if isinstance(said, dict) else []
        if not all(isinstance(one, str | None) for one in runs):
            raise _fault(f"{path}: what the config set `{name}` runs is no text", "put its bootcmd, or base, in quotes")
        if not isinstance(said, dict) or (data["runtime"] == "native" and not any(map(_is_text, runs))):
            raise _fault(f"{path}: the config set `{name}` says nothing to run", "write its bootcmd, or its base")
    default = str(data.get("config_set_default") or "")
    for name in filter(None, (one.strip() for one in default.split(","))):
        if name not in sets:
            raise _fault(f"{path}: the default `{name}` is no config set", f"there are {', '.join(sets)}")
    return tuple(sets)


def _read(path: Path) -> Document:
    with contextlib.suppress(OSError):  # `read` tells it
        if not stat.S_ISREG(path.lstat().st_mode):  # a link could lead to a pipe, or to what is not the package's
            raise _fault(f"{path} is not a plain file", "put the file itself into the package")
    report = Report()
    document = read(path, report)
    if document is None:
        first = report.sorted()[0]
        where = f"{first.span.file}:{first.span.line}: " if first.span and first.span.file not in first.message else ""
        raise _fault(f"{where}{first.message}", _HELP.get(first.code) or first.help or _PLAIN)
    return document


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _home(directory: Path) -> str:
    """Return the home of who owns the package, which under sudo is not one's own; of a number without a name one's."""
    try:
        return pwd.getpwuid(directory.stat().st_uid).pw_dir
    except KeyError:
        return os.path.expanduser("~")


def _fault(message: str, hint: str) -> Fault:
    return Fault("VT0524", message, help=hint)
