"""What all tests of the runtime share."""

import pytest

from tests.runtime.fake_cgroups import removable


@pytest.fixture(autouse=True)
def _cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cgroups that are plain files can be removed as the kernel's can."""
    removable(monkeypatch)
