"""docs/security.md says which test tries what; each of them is there, and each test of this directory is in it."""

import re
from pathlib import Path

from tests.spec.helpers import ROOT

PAGE = ROOT / "docs/security.md"
HERE = Path(__file__).parent


def rows() -> list[list[str]]:
    """The cells of all rows: what, how it is ruled out, what tries it."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[-1] != "tried by"]


def named() -> set[tuple[str, str]]:
    """File and test of each that the page names: `test_names.py`, then its tests until the next file."""
    found = set()
    for row in rows():
        file = ""
        for path, test in re.findall(r"`([\w/]+\.py)`|`(test_\w+)`", row[-1]):
            file = path or file
            if test:
                found.add((file, test))
    return found


def names_in(path: Path) -> set[str]:
    return set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def test_each_row_is_whole() -> None:
    assert len(rows()) > 30
    for row in rows():
        assert len(row) == 3, row
        assert re.search(r"`\w+\.py`|`[\w/]+\.py` `test_", row[2]), row


def test_each_test_that_the_page_names_is_there() -> None:
    files = {file for file, _ in named()}
    assert {file: (ROOT / "tests" / file).is_file() for file in files} == dict.fromkeys(files, True)
    known = {file: names_in(ROOT / "tests" / file) for file in files}
    assert {(file, test) for file, test in named() if test not in known[file]} == set()


def test_each_test_of_this_directory_is_on_the_page() -> None:
    own = {(f"security/{path.name}", test) for path in HERE.glob("test_*.py") for test in names_in(path)}
    assert {one for one in own if one not in named() and "test_table" not in one[0]} == set()
