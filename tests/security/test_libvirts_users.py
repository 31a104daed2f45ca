"""`vtorque-runtime doctor` tries whether an ordinary user commands the node's libvirt."""

import os
from dataclasses import replace
from typing import cast

import pytest

from tests.runtime.well_node import node, told
from vtorque_runtime.doctor import software
from vtorque_runtime.doctor.node import Libvirt, Node
from vtorque_spec.fault import Fault

__all__ = ["node"]  # a fixture


class Daemon:
    """One that answers root, and `others` if it is open to all."""

    def __init__(self, *, others: bool) -> None:
        if os.geteuid() != 0 and not others:
            raise Fault("VT0902", "authentication failed")

    def close(self) -> None:
        pass


@pytest.mark.root
def test_a_libvirt_that_is_open_to_all_is_told(node: Node) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming nobody needs root")
    opened = replace(node, connect=lambda: cast(Libvirt, Daemon(others=True)))
    (finding,) = told(software.libvirts_users, opened)
    assert finding.startswith("error VT0949")
    closed = replace(node, connect=lambda: cast(Libvirt, Daemon(others=False)))
    assert told(software.libvirts_users, closed) == []
