"""The benchmarks of the runtime run, each in its smallest case; nothing is timed here."""

import re
import subprocess
import sys

import pytest

from tests.boots import left_behind
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from vtorque_runtime.confine import Limits

LIMITS = Limits()


def said(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hook() -> None:
    told = said("benchmarks/hook.py", "--runs", "1", "--no-slurm")
    assert len(re.findall(r"^(?:torque|openpbs|slurm) \w+.* \d+\.\d", told, re.MULTILINE)) == 8


def test_backing() -> None:
    """However many prologues want it, an image is copied once."""
    told = said("benchmarks/backing.py", "--runs", "1", "--image-mib", "8").splitlines()
    assert [line.split()[0] for line in told[3:5]] == ["1", "50"]
    assert [(line.split()[0], round(float(line.split()[3]), 1)) for line in told[-2:]] == [("1", 1.0), ("8", 1.0)]


def test_images() -> None:
    told = said("benchmarks/images.py", "--runs", "1", "--image-mib", "4", "8").splitlines()
    assert [line.split()[0] for line in (*told[2:4], *told[-2:])] == ["4", "8", "1", "50"]


@pytest.mark.root
def test_nodes() -> None:
    told = said("benchmarks/nodes.py", "--runs", "1", "--nodes", "1", "3")
    assert [line.split()[0] for line in told.splitlines()[-3:-1]] == ["1", "3"]


@pytest.mark.root
def test_a_node_of_a_thousand_with_sixteen_vms() -> None:
    """The children's limits are those of a real job; what passes between them and root is far from these."""
    told = said("benchmarks/nodes.py", "--runs", "1", "--nodes", "1", "1000", "--vms", "16").splitlines()[-3:-1]
    one, thousand = (dict(zip(("asked", "answer"), map(float, line.split()[5:7]), strict=True)) for line in told)
    table_kib = 16_000 * 160 / 1024
    assert thousand["asked"] < one["asked"] + table_kib
    assert thousand["answer"] < one["answer"] + table_kib < LIMITS.result_bytes / 1024 / 4


@pytest.mark.libvirt
@pytest.mark.root
def test_supervisor(libvirtd: Libvirtd) -> None:
    """More VMs than most machines that test have CPUs, so that the seeming ones are needed."""
    before = left_behind()
    told = said("benchmarks/supervisor.py", "--runs", "1", "--vms", "3")
    assert re.search(r"^ +3( +\d+\.\d\d){6}$", told, re.MULTILINE), told
    assert "own share" in told
    assert left_behind() == before
