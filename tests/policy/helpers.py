"""A site of its own for each policy that a test writes."""

import shutil
import textwrap
from pathlib import Path

from tests.spec.helpers import ROOT
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import open_site
from vtorque_spec.policy.lint import lint_policy

PLAIN = ROOT / "tests/invalid/sites/plain"


def write_site(directory: Path, policy: str, **files: str) -> Path:
    """Write a site that has nothing wrong but, perhaps, its policy; `files` are further rules by name."""
    site = directory / "site"
    shutil.copytree(PLAIN, site, dirs_exist_ok=True)
    image = site / "images/debian-12.yaml"
    image.write_text(image.read_text() + "tags: [cfd, small]\n")
    (site / "policy.yaml").write_text(textwrap.dedent(policy))
    (site / "rules").mkdir(exist_ok=True)
    for name, text in files.items():
        (site / f"rules/{name}.yaml").write_text(textwrap.dedent(text))
    return site


def lint(site: Path) -> list[tuple[str, int, str]]:
    """Return the code, the line and the message of what opening a site and linting its policy finds."""
    report = Report()
    found = open_site(site, report)
    if found is not None:
        lint_policy(found, report)
    return [(item.id, item.span.line if item.span else 0, item.message) for item in report.sorted()]
