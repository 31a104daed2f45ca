"""The data files that ship with the program: schemas, the base policy, the `local` site, one page per finding code."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def schemas() -> Path:
    """Return the directory of the shipped schemas: the checkout's, or the copy in an installed package."""
    return _first(_PACKAGE.parent / "schemas", _PACKAGE / "_schemas")


def error_pages() -> Path:
    """Return the directory with one page (VTnnnn.md) per finding code."""
    return _first(_PACKAGE.parent / "docs" / "errors", _PACKAGE / "_errors")


def _first(checkout: Path, installed: Path) -> Path:
    return checkout if checkout.is_dir() else installed
