"""Root's check of where root disks are read from, and of what they may take of the node's disk and memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.fakes import read_from
from vtorque_runtime.recheck import recheck
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, Backing, NodeContext, NodePlan

SITE = fakes.site()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> NodeContext:
    with fakes.reserved(tmp_path_factory.mktemp("spool")) as reserved:
        return reserved.context


def claiming(found: NodePlan, disk_bytes: int) -> NodePlan:
    return replace(found, claim=replace(found.claim, disk_bytes=disk_bytes))


LIES: dict[str, Callable[[NodePlan], NodePlan]] = {
    "the image in place of its copy": lambda found: replace(found, backing="local"),
    "a copy in place of the image": lambda found: replace(read_from(found, "local"), backing="shared"),
    "an image in memory that takes none": lambda found: read_from(found, "ram"),
    "an image in memory that is not claimed": lambda found: read_from(found, "ram", 2**30),
    "memory for an image that is not there": lambda found: replace(found, base_memory_bytes=MIB),
    "less room than its disks may take": lambda found: claiming(found, 2**30),
    "more room than its disks may take": lambda found: claiming(found, 2**50),
}


@pytest.mark.parametrize("backing", ["shared", "local", "ram"])
def test_an_honest_plan_passes(context: NodeContext, backing: Backing) -> None:
    """Of the 256 MiB that are claimed for QEMU."""
    recheck(read_from(fakes.plan(context), backing, MIB if backing == "ram" else 0), context, SITE)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(context: NodeContext, lie: str) -> None:
    with pytest.raises(Fault, match="VT0912"):
        recheck(LIES[lie](fakes.plan(context)), context, SITE)


def test_an_ordinary_users_image_is_in_no_memory_of_the_nodes(tmp_path: Path) -> None:
    with fakes.reserved(tmp_path, "session") as reserved:
        found = read_from(fakes.plan(reserved.context), "ram", MIB)
        with pytest.raises(Fault, match="an ordinary user's image"):
            recheck(found, reserved.context, SITE)


def test_disks_in_memory_are_claimed_as_memory(context: NodeContext) -> None:
    """1 GiB is claimed for the guest, and 256 MiB for QEMU: its root disk alone has 1 GiB."""
    found, diskless = fakes.plan(context), replace(context, diskless=True)
    with pytest.raises(Fault, match="the claim is less than the memory"):
        recheck(found, diskless, SITE)
    more = replace(found.claim, memory=(replace(found.claim.memory[0], pages=4 * fakes.GIB),))
    recheck(replace(found, claim=more), diskless, SITE)
