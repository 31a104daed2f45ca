"""What all tests of the runtime share."""

from pathlib import Path

import pytest

from tests.runtime.fake_cgroups import removable
from tests.runtime.toy_recipe import Toy


@pytest.fixture(autouse=True)
def _cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cgroups that are plain files can be removed as the kernel's can."""
    removable(monkeypatch)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Images are built by a toy recipe, into a store of its own."""
    return Toy(tmp_path, monkeypatch)
