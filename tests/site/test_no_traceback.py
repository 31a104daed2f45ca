"""Whatever a site's file holds, `site check` ends in findings that lie within the file, never in a traceback."""

import shutil
from pathlib import Path

import pytest

from tests.site.helpers import PLAIN
from tests.spec.helpers import ROOT
from tests.test_no_traceback import ODD
from vtorque_spec.diagnostics import Report
from vtorque_spec.document import Document, read
from vtorque_spec.driver import open_site
from vtorque_spec.site.check import inspect
from vtorque_spec.site.host import check_image_files

PAGE = (ROOT / "docs/site.md").read_text(encoding="utf-8")
FULL = PAGE.split("```yaml\n")[1].split("```")[0]
"""The site of docs/site.md, which has nearly every field."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(PLAIN, tmp_path / "site")
    (tmp_path / "site/site.yaml").write_text(FULL)
    (tmp_path / "site/policy.yaml").write_text("properties: {vcpus: {maximum: 8}}\n")
    return tmp_path / "site"


def checked(root: Path) -> Report:
    report = Report()
    open_site(root, report)
    files = inspect(root, report)
    if files is not None:
        check_image_files(files, lambda name, done, size: None, report)
    return report


def test_the_site_of_the_page_is_fine(root: Path) -> None:
    assert checked(root).items == []


@pytest.mark.parametrize("file", ["site.yaml", "images/debian-12.yaml", "policy.yaml"])
def test_an_odd_value_in_each_place(file: str, root: Path) -> None:
    path = root / file
    document = read(path, Report())
    assert isinstance(document, Document)
    lines = document.lines
    places = {span for where, span in document.values.items() if where and span.line == span.end_line}
    for number, place in enumerate(sorted(places)):
        line = lines[place.line - 1]
        for odd in ODD[number % 4 :: 4]:
            changed = line[: place.column - 1] + odd + line[place.end_column - 1 :]
            text = [*lines[: place.line - 1], changed, *lines[place.line :]]
            path.write_text("\n".join(text), encoding="utf-8")
            for item in checked(root).items:
                assert item.message
                if item.span and item.span.file == str(path):
                    assert 1 <= item.span.line <= len("\n".join(text).split("\n"))
