"""`vtorque run` of OSv jobs on libvirt, both ways of booting, with a kernel that speaks as OSv does."""

import os
import pwd
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import Done, finished, left_behind, started
from tests.spec.helpers import ROOT
from tests.support import osv_guest
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, user, work
from tests.test_run_mounts import left_mounted
from tests.test_run_networks import run_at
from vtorque_runtime import partition
from vtorque_spec import data
from vtorque_spec.plan.context import partition_name

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The built-in site with two images: one whose kernel QEMU starts, one that boots from its disk."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "images").mkdir()
    (directory / "site.yaml").write_text((data.schemas() / "local/site.yaml").read_text())
    with osv_guest.published(directory):
        yield directory


def job(work: Path, boot: str, run: str, more: str = "") -> Path:
    path = work / "job.vjob.yaml"
    head = f"apiVersion: vtorque/v1\nname: test\nimage: {osv_guest.IMAGES[boot]}\nvcpus: 1\nmemory: 64MiB\n"
    path.write_text(f"{head}{more}run: {{{run}}}\n")
    return path


def ran(site: Path, user: pwd.struct_passwd, path: Path, count: Count) -> Done:
    count()
    with started(run_at(site, user, path), ROOT, PYTHONPATH=PYTHONPATH) as process:
        done = finished(process)
    assert left_behind() == []
    return done


@pytest.mark.parametrize("boot", ["kernel", "disk"])
def test_the_command_runs_with_its_arguments_and_environment(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count, boot: str
) -> None:
    """What no word of OSv's can carry arrives too, and nothing of the kernel's own lines is in the output."""
    run = """command: [/t, "a b", 'x"y\\z', "$HOME;&!", "é", "", exit, "3"]"""
    done = ran(site, user, job(work, boot, run, "env: {GREETING: 'hello  $x'}\n"), count_boots)
    words = ["/t", "a b", 'x"y\\z', "$HOME;&!", "é", "", "exit", "3"]
    assert done.out.splitlines() == [*(f"argv[{n}]=<{word}>" for n, word in enumerate(words)), "EXITING 3"]
    assert done.code == 3, done.err


@pytest.mark.parametrize(
    ("run", "code", "out", "finding"),
    [
        ("command: [/t, ret, '5']", 5, "RETURNING 5\n", None),
        ("commands: [[/t, say, one], [/t, say, two]]", 0, "twoDONE\n", None),
        ("command: [/nosuch.so]", 127, "Powering off.\n", "VT0952"),
        ("command: [/t, abort]", 134, "", "VT0953"),
        ("command: [/t, kill, '9']", 137, "Powering off.\n", "VT0953"),
        ("command: [/tools/mount-fs.so, nfs, 'nfs://h/e', /data]", 1, "", "VT0954"),
    ],
    ids=["return", "several", "not found", "abort", "signal", "mount"],
)
def test_how_it_ends(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count,
    run: str, code: int, out: str, finding: str | None,
) -> None:  # fmt: skip
    done = ran(site, user, job(work, "kernel", run), count_boots)
    assert (done.code, "error[" in done.err) == (code, finding is not None), done.err
    assert done.out.endswith(out)
    assert finding is None or f"error[{finding}]" in done.err


def test_the_walltime(libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count) -> None:
    """By the power button; tests/test_slurm_osv.py has a guest that does not hear it."""
    more = "batch: {walltime: 20s}\ntimeouts: {boot: 10s, grace: 5s}\n"
    done = ran(site, user, job(work, "kernel", "command: [/t, sleep, '600']", more), count_boots)
    assert done.code == 124, done.err
    assert "error[VT0909]" in done.err
    assert done.out.endswith("SLEEP 600\n")


def test_a_signal_and_output_that_comes_as_it_is_printed(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count
) -> None:
    count_boots()
    path = job(work, "disk", "command: [/t, sleep, '600']")
    with started(run_at(site, user, path), ROOT, PYTHONPATH=PYTHONPATH) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(4)][-1] == "SLEEP 600\n"
        (seed,) = Path("/var/lib/vtorque/jobs").glob("local-*/vm0/seed.iso")
        assert b"- POST: /os/hostname\n" in seed.read_bytes()
        process.send_signal(signal.SIGTERM)
        done = finished(process)
    assert done.code == 128 + signal.SIGTERM, done.err
    assert left_behind() == []


def test_the_whole_console(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count
) -> None:
    """Who asks for it gets the kernel's lines too, in their order."""
    done = ran(site, user, job(work, "disk", "command: [/t], console: all"), count_boots)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].endswith("OSv v0.57-stand-in")
    assert lines[-1] == "Powering off."
    own = ["1 CPUs detected", "Cmdline: /t", "argv[0]=</t>", "DONE"]
    assert [line for line in lines if line in own] == own


def test_several_guests(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count
) -> None:
    """Each runs the command; the lines of all but the first say whose they are."""
    done = ran(site, user, job(work, "kernel", "command: [/t, ret, '4']", "vms_per_node: 2\n"), count_boots)
    assert done.code == 4, done.err
    name = f"v{os.uname().nodename.split('.')[0]}-1: "
    lines = done.out.splitlines()
    assert [line for line in lines if not line.startswith(name)] == [
        "argv[0]=</t>", "argv[1]=<ret>", "argv[2]=<4>", "RETURNING 4",
    ]  # fmt: skip
    assert [line.removeprefix(name) for line in lines if line.startswith(name)][-1] == "RETURNING 4"


def test_what_is_written_to_is_served_and_a_mount_that_fails_fails_the_job(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count
) -> None:
    """The stand-in has no NFS client, so it tells an error; the server was there, and goes with the job."""
    more = "mounts: [{name: home, target: /data}]\n"
    done = ran(site, user, job(work, "kernel", "command: [/t], console: all", more), count_boots)
    assert done.code == 1
    assert "error[VT0954]" in done.err
    assert "Error in mount(): " in done.err
    (said,) = (line for line in done.out.splitlines() if line.startswith("Cmdline: "))
    found = re.search(
        r'/tools/mount-fs\.so nfs "nfs://10\.213\.\d+\.\d+/mount0/\?version=4&nfsport=2049" /data ; /t', said
    )
    assert found, said
    assert "argv[0]=</t>" in done.out
    assert left_mounted() == []
    assert not list(Path("/sys/class/net").glob("vt-*-nfs"))


def test_a_server_that_dies_ends_the_job(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, site: Path, count_boots: Count
) -> None:
    count_boots()
    path = job(work, "kernel", "command: [/t, sleep, '600']", "mounts: [{name: home, target: /data}]\n")
    with started(run_at(site, user, path), ROOT, PYTHONPATH=PYTHONPATH) as process:
        assert process.stdout is not None
        while process.stdout.readline() not in ("SLEEP 600\n", ""):
            pass
        (exports,) = Path("/var/lib/vtorque/jobs").glob("local-*/exports")
        (server,) = partition.members(partition_name(exports.parent.name), "exports")
        os.kill(server, signal.SIGKILL)
        done = finished(process)
    assert done.code == 1
    assert "error[VT0957]" in done.err
    assert left_behind() == []
    assert left_mounted() == []
