"""Whether an image that was built or added again came out the same, and why it did not."""

from pathlib import Path

from vtorque_runtime.images.store import ImageRecord, StoredFile
from vtorque_spec.fault import Fault

SHOWN = 20
"""So many files that differ are named."""


def check_boots(store: Path, before: ImageRecord, after: ImageRecord) -> None:
    """Raise Fault VT0521 where two images with the same disk, the first one stored, do not boot alike."""
    boots = [(one.disk_format, one.disk, one.kernel, one.initrd) for one in (before, after)]
    if boots[0] != boots[1]:
        raise Fault(
            "VT0521",
            f"the store has the disk of `{after.name}` already, with another kernel, initrd or format",
            help=f"take the files of {store / before.directory}, or: vtorque image remove {before.directory}",
        )


def differences(before: ImageRecord, home: Path, after: ImageRecord, directory: Path) -> tuple[str, ...]:
    """Return what differs between an image in `home` and one in `directory`, a line each; nothing where they are one.

    Packages come first, for what they hold, then tools and the files inside the guest.
    """
    if before.parts == after.parts:
        return ()
    found = _lines("package", _texts(home, before.packages), _texts(directory, after.packages))
    if before.provenance and after.provenance:
        found += _lines("tool", set(before.provenance.tools), set(after.provenance.tools))
    files = sorted({_path(line) for line in _texts(home, before.contents) ^ _texts(directory, after.contents)})
    found += [f"file in the guest: {path}" for path in files[:SHOWN]]
    if len(files) > SHOWN:
        found.append(f"and {len(files) - SHOWN} more files")
    for name, old, new in (("kernel", before.kernel, after.kernel), ("initrd", before.initrd, after.initrd)):
        if old != new:
            found.append(f"the {name}")
    if before.disk != after.disk and not files:
        found.append("the disk, though every file in it is the same: its file system or its layout")
    return tuple(found)


def _texts(home: Path, part: StoredFile | None) -> set[str]:
    return set((home / part.file).read_text(encoding="utf-8", errors="replace").splitlines()) if part else set()


def _lines(what: str, before: set[str], after: set[str]) -> list[str]:
    """Return `NAME: OLD -> NEW` for lines "NAME VERSION" that one of both has alone."""
    old, new = (
        dict(line.split(maxsplit=1) for line in lines if " " in line or "\t" in line) for lines in (before, after)
    )
    return [
        f"{what} {name}: {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _path(line: str) -> str:
    """Return the path that a line of contents.txt begins with."""
    return line.split(" ", 1)[0].removeprefix(".")
