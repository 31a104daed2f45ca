"""What all tests of security share."""

from collections.abc import Iterator

import pytest

from tests.runtime.fake_cgroups import removable
from tests.security.world import World, made_world


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A node with two users. Cgroups that are plain files can be removed as the kernel's can."""
    removable(monkeypatch)
    with made_world(monkeypatch) as made:
        yield made
