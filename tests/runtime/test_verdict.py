"""Whose fault it is: what a job or a broken child could bring about takes no node out of service."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import fakes
from tests.runtime.well_node import SITE
from vtorque_runtime.confined import RefusedError
from vtorque_runtime.supervise import check_kvm
from vtorque_runtime.verdict import OFFLINE, of_error
from vtorque_spec.fault import Fault
from vtorque_spec.plan.answer import ToldFinding

NO_KVM = RefusedError([ToldFinding("VT0907", "error", "no KVM", None, None)])


@pytest.mark.parametrize("code", ["VT0201", "VT0401", "VT0902", "VT0905", "VT0907", "VT0911", "VT0937", "VT0944"])
def test_no_finding_of_the_child_is_a_fault_of_the_node(code: str) -> None:
    refused = RefusedError([ToldFinding(code, "error", "so it says", None, None)])
    assert of_error(refused, "planning").kind not in OFFLINE


@pytest.mark.parametrize("code", ["VT0501", "VT0510", "VT0512", "VT0513", "VT0514", "VT0701"])
def test_what_became_of_the_catalogue_is_the_sites_doing(code: str) -> None:
    """The job compiled, or it would not be here."""
    assert of_error(RefusedError([ToldFinding(code, "error", "so it says", None, None)]), "planning").kind == "site"


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, "transient"), (errno.EDQUOT, "transient"), (errno.EIO, "node")]
)
def test_a_full_disk_is_not_proven_to_be_the_nodes_fault(number: int, kind: str) -> None:
    """A guest that writes fills the disk below its overlay."""
    assert of_error(OSError(number, os.strerror(number)), "staging").kind == kind


@pytest.mark.parametrize(
    ("hypervisor", "virt", "proven"), [("kvm", "qemu", True), ("kvm", "kvm", False), ("any", "qemu", False)]
)
def test_no_kvm_is_the_nodes_fault_where_root_knows_it(
    tmp_path: Path, hypervisor: str, virt: str, proven: bool
) -> None:
    site = replace(SITE, hypervisor=hypervisor)
    context = replace(fakes.draft(tmp_path).context, virt=virt)
    if not proven:
        check_kvm(NO_KVM, site, context)
        return
    with pytest.raises(Fault, match="VT0907") as caught:
        check_kvm(NO_KVM, site, context)
    assert of_error(caught.value, "planning").kind in OFFLINE
    check_kvm(RefusedError([ToldFinding("VT0401", "error", "too large", None, None)]), site, context)
