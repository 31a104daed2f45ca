"""What tests of `vtorque image` share."""

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from vtorque_runtime.images import store

CMDLINE = "console=ttyS0 root=LABEL=root rw"

Run = Callable[..., Result]


def entries(site: Path) -> list[str]:
    """Return the files of the catalogue, but for the one that the site begins with."""
    return sorted(path.name for path in (site / "images").iterdir() if path.name not in ("debian-12.yaml", ".lock"))


def stored(images: Path) -> list[str]:
    """Return the names of the images in the store, and whatever else is there."""
    names = (path.name for path in images.iterdir() if path.name != ".lock") if images.exists() else ()
    return sorted(name.partition("@")[0] for name in names)


def add(run: Run, name: str, disk: Path, *more: str) -> str:
    """Add an image of Linux as revision 1 and return its digest."""
    result = run("add", name, disk, "--cmdline", CMDLINE, "--revision", "1", *more)
    assert result.exit_code == 0, result.output
    return store.newest(store.SYSTEM_STORE)[name].disk.sha256
