"""Copies of the example site, and what the commands say of them."""

import shutil
from pathlib import Path

from click.testing import CliRunner

from tests.spec.helpers import ROOT
from vtorque_spec.cli import group

SITE = ROOT / "examples" / "site"
GOLDEN = Path(__file__).parent / "golden"
JOB = "apiVersion: vtorque/v1\nname: case\nimage: debian-12\nrun: hostname\n"

Edits = dict[str, tuple[str, str]]
"""File -> (text that stands there, text instead of it)."""

TIGHTER: Edits = {
    "policy.yaml": (
        "vcpus: {default: 4, maximum: 32}",
        'vcpus: {default: 2, maximum: 16}\n  timeouts: {properties: {boot: {maxDuration: "00:10:00", code: EX050}}}',
    ),
    "rules/sizes.yaml": ("maxQuantity: 240GiB", "maxQuantity: 120GiB"),
}
"""A variant of the example that refuses more, has another default, and has a rule without a case."""

LOOSER: Edits = {
    "policy.yaml": ("allow_degraded: false  ", "name: {maxLength: 12, severity: warning} "),
    "rules/sizes.yaml": ("disk: {maxQuantity: 200GiB, code: EX011}", "disk: {maxQuantity: 400GiB, code: EX012}"),
}
"""A variant that refuses less, and says another code."""


def copy_site(directory: Path, edits: Edits | None = None) -> Path:
    """Write the example site, edited, to `directory`."""
    shutil.copytree(SITE, directory)
    for name, (old, new) in (edits or {}).items():
        text = (directory / name).read_text()
        assert text.count(old) == 1, name
        (directory / name).write_text(text.replace(old, new))
    return directory


def case(site: Path, name: str, text: str = JOB) -> Path:
    """Write a file below the site's policy.test."""
    path = site / "policy.test" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def call(*arguments: str | Path) -> tuple[int, str]:
    """Return the exit code and the standard output of `vtorque policy ...`."""
    words = ["policy", *map(str, arguments)]
    result = CliRunner().invoke(group, words, standalone_mode=False, catch_exceptions=False)
    return result.return_value, result.stdout


def same_as(name: str, text: str, update: bool) -> None:
    """Compare text with a file of golden/, or write it when asked to."""
    path = GOLDEN / name
    if update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{name} is missing; the text is\n{text}"
    assert text == path.read_text(encoding="utf-8")
