"""A site's directory in the tests: that of tests/invalid/sites/plain, changed."""

import shutil
from pathlib import Path

from tests.test_invalid import INVALID
from vtorque_spec.diagnostics import Report
from vtorque_spec.site.check import inspect

PLAIN = INVALID / "sites" / "plain"
SHA256 = "1" * 64
"""The digest of its image."""


def site(directory: Path, *, old: str = "", new: str = "", file: str = "site.yaml") -> Path:
    """Copy the site `plain` to a directory `site`, with `new` in the place of `old` in one of its files."""
    root = directory / "site"
    shutil.copytree(PLAIN, root)
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new) if old else text + new)
    return root


def found(root: Path) -> list[tuple[str, str]]:
    """Return the codes and messages of what `site check` alone finds."""
    report = Report()
    inspect(root, report)
    return [(item.id, item.message) for item in report.sorted()]
