"""libvirt takes every shape of a domain as it was said."""

import pytest
from hypothesis import given, settings

from tests.compilers.domains import lost_in_the_qemu_driver, lost_in_the_test_driver
from tests.compilers.plans import GUESTS, OSV_GUESTS, any_guest
from tests.support.libvirtd import Libvirtd
from vtorque_compilers.domain import compile_domain
from vtorque_spec.plan import Guest, LinuxGuest

pytestmark = pytest.mark.libvirt
EACH: dict[str, Guest] = {**GUESTS, **OSV_GUESTS}
ANY_GUEST = pytest.mark.parametrize("guest", EACH.values(), ids=EACH)


@ANY_GUEST
def test_the_test_driver_keeps_everything(guest: Guest) -> None:
    assert lost_in_the_test_driver(compile_domain(guest).text) == []


@settings(deadline=None)
@given(guest=any_guest())
def test_the_test_driver_keeps_any_placement(guest: LinuxGuest) -> None:
    assert lost_in_the_test_driver(compile_domain(guest).text) == []


@pytest.mark.root
@ANY_GUEST
def test_the_qemu_driver_keeps_everything(guest: Guest, libvirtd: Libvirtd) -> None:
    assert lost_in_the_qemu_driver(compile_domain(guest).text) == []


@pytest.mark.root
@settings(deadline=None, max_examples=30)
@given(guest=any_guest())
def test_the_qemu_driver_keeps_any_placement(guest: LinuxGuest, libvirtd: Libvirtd) -> None:
    assert lost_in_the_qemu_driver(compile_domain(guest).text) == []
