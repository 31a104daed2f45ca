"""`vtorque-runtime doctor`: each check finds what is wrong with a made-up node, and nothing with one that is well."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.batch.installed import HOOKS
from tests.runtime.fakes import image_store
from tests.runtime.well_node import SITE, SITE_YAML, found, node, told
from tests.support.slurm import Slurm
from tests.support.slurm_conf import Cluster
from vtorque_runtime import commands, doctor, reap
from vtorque_runtime.doctor import files, hooks
from vtorque_runtime.doctor.node import Node, Result, this_node
from vtorque_runtime.doctor.text import lines
from vtorque_runtime.osv import exports
from vtorque_runtime.spool import Start, open_registry
from vtorque_spec.canonical import canonical_json, from_json
from vtorque_spec.plan import NodeSite, OfferedMount, OsvImage, SaidImage
from vtorque_spec.plan.answer import ToldFinding

__all__ = ["node"]  # a fixture


def test_the_cluster_key(node: Node) -> None:
    key = node.site / "cluster.key"
    assert found(files.cluster_key, node).startswith("error VT0935 there is no cluster key")
    key.write_text("5a" * 32 + "\n")
    key.chmod(0o644)
    assert "VT0935" in found(files.cluster_key, node)
    key.chmod(0o600)
    assert told(files.cluster_key, node) == []


def test_images(node: Node) -> None:
    said = replace(
        SITE, images=(SaidImage("tiny", None, "console=ttyS0", None), SaidImage("other", None, "console=ttyS0", None))
    )
    assert [one[:14] for one in told(files.images, node, said)] == ["error VT0502 t"] * 2
    (image,) = image_store(node.store)
    assert found(files.images, node, said).startswith("error VT0502 the image `other` is not in")
    assert (
        told(files.images, node, replace(SITE, images=(SaidImage("tiny", image.sha256, "console=ttyS0", None),))) == []
    )
    wrong = replace(SITE, images=(SaidImage("tiny", "0" * 64, "console=ttyS0", None),))
    assert "has the digest" in found(files.images, node, wrong)
    both = (*wrong.images, SaidImage("tiny", image.sha256, "console=ttyS0", None))
    assert len(told(files.images, node, replace(SITE, images=both))) == 1, "of two revisions one is there"
    tiny = replace(SITE, images=(SaidImage("tiny", None, "console=ttyS0", None),))
    disk = Path(image.disk)
    disk.chmod(0o644)
    disk.write_bytes(disk.read_bytes() + b"x")
    assert told(files.images, node, tiny) == [], "not read unless asked for"
    assert "has changed" in found(files.images, replace(node, images=True), tiny)


@pytest.mark.root
def test_mounts(node: Node) -> None:
    """As a job's are: there, and nosuid and nodev where guests may write."""
    if os.geteuid() != 0:
        pytest.skip("what is shared is root's own")

    def offered(source: str, *, writable: bool, kind: Any = "virtiofs", allow: bool = False) -> NodeSite:
        return replace(SITE, mounts=(OfferedMount("opt", kind, source, "/opt", writable, (), allow),))

    assert "error VT0942 opt: /none/such" in found(files.mounts, node, offered("/none/such/$USER", writable=True))
    assert "without nosuid and nodev" in found(files.mounts, node, offered("/usr", writable=True))
    for fine in (
        offered("/usr", writable=False),
        offered("/usr", writable=True, allow=True),
        offered("$HOME", writable=True),
        offered("srv:/none", writable=True, kind="nfs"),
    ):
        assert told(files.mounts, node, fine) == []


def test_what_osv_guests_would_write_to(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node needs an NFS server for it, where there are such images and mounts."""
    monkeypatch.setattr(exports, "GANESHA", "/no/such/program")
    home = OfferedMount("home", "virtiofs", "$HOME", "$HOME", True, (), False)
    image = SaidImage("tiny", None, "", OsvImage("kernel", "mainline", None, False))
    site = replace(SITE, mounts=(home,), images=(image,))
    assert "warning VT0956 OSv guests cannot write to mounts" in found(files.mounts, node, site)
    for other in (replace(site, images=()), replace(site, mounts=(replace(home, writable=False),))):
        assert told(files.mounts, node, other) == []


def test_the_spools_file_system(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = node.root / "proc/self/mountinfo"
    monkeypatch.setattr(files, "LEAST_FREE_BYTES", 1)
    base = open_registry("system", node.base).base
    mounts.write_text("30 1 0:1 / / rw - ext4 /dev/sda rw\n")
    assert told(files.spool, node) == []
    mounts.write_text(f"31 30 0:2 / {base.parent} rw shared:1 - nfs4 x rw\n{mounts.read_text()}")
    assert found(files.spool, node).startswith("warning VT0948")
    assert "network file system (nfs4)" in found(files.spool, node)
    mounts.write_text(f"{mounts.read_text()}32 31 0:3 / {base} rw - xfs /dev/sdb rw\n")
    assert told(files.spool, node) == []


@pytest.mark.parametrize(
    ("kind", "said", "words"),
    [
        ("ext4", False, None),
        ("tmpfs", True, None),
        ("tmpfs", False, "is in memory (tmpfs): jobs of `thin` ask for less memory than their disks take"),
        ("ext4", True, "is on a disk (ext4): jobs of `thin` ask for memory that their disks do not take"),
    ],
)
def test_guests_disks_are_where_the_class_says(node: Node, kind: str, *, said: bool, words: str | None) -> None:
    base = open_registry("system", node.base).base
    (node.root / "proc/self/mountinfo").write_text(
        f"30 1 0:1 / / rw - xfs /dev/sda rw\n32 30 0:3 / {base} rw - {kind} x rw\n"
    )
    site = replace(SITE, node=replace(SITE.node, diskless=said))
    assert told(files.diskless, node, site) == ([] if words is None else [f"warning VT0947 {base} {words}"])


def test_the_spool(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LEAST_FREE_BYTES", 2**63)
    assert "MiB left" in found(files.spool, node)
    node.base.chmod(0o777)
    assert found(files.spool, node).startswith("error VT0914")


def test_jobs_that_are_left(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = open_registry("system", node.base)
    registry.register("local-1", os.getuid())
    assert told(files.jobs, node) == []
    spool, held = registry.register("local-2", os.getuid())
    spool.registration.write_text(canonical_json(replace(held, boot_id="the one before")))
    assert found(files.jobs, node).startswith("warning VT0948 the job local-2 is over")
    spool.registration.write_text("{")
    assert found(files.jobs, node).startswith("error VT0944")
    shutil.rmtree(spool.path)
    registry.register("41.n1", 0, 0, Start("slurm", "41", "s", "n1"))
    for state, words in (("gone", "the job 41.n1 is over"), ("unknown", "warning VT0930 slurm does not say")):
        monkeypatch.setattr(reap, "adapter", lambda _system, state=state: type("A", (), {"state": lambda *_: state}))
        assert words in found(files.jobs, node)


# --- the whole ------------------------------------------------------------------------------------------------------


def test_who_is_not_root_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (result,) = doctor.examine(node)
    assert (result.check, result.state, doctor.failed([result])) == ("root", "error", True)


def test_a_disk_that_cannot_be_read_is_a_finding() -> None:
    def broken() -> Iterator[str]:
        raise OSError(5, "Input/output error")
        yield ""

    assert found(broken).startswith("error VT0948 this cannot be looked at")


def test_the_text() -> None:
    finding = ToldFinding("VT0905", "error", "no ssh\x1b[2J", "apt install openssh-client", "one\ntwo")
    results = [Result("ssh", "error", (), (finding,)), Result("long name", "ok", ("a", "b"), ())]
    assert list(lines(results, coloured=False)) == [
        "error    ssh",
        "  error[VT0905]: no ssh?[2J",
        "    one",
        "    two",
        "    fix: apt install openssh-client",
        "ok       long name  a; b",
        "this node cannot serve jobs: 1 error, 0 warnings",
    ]
    assert next(iter(lines(results, coloured=True))).startswith("\x1b[31merror  \x1b[0m")
    assert list(lines(results[1:], coloured=False))[-1] == "this node can serve jobs"


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a doctor is root")


@pytest.mark.root
@pytest.mark.usefixtures("root")
def test_the_site_is_asked_as_a_job_asks(node: Node) -> None:
    facts, result = doctor._site(node)
    assert (result.state, facts and facts.hook_limit_s, facts and facts.node.cpus) == ("ok", 60, 1)
    (node.site / "site.yaml").chmod(0o666)
    assert found_in(doctor._site(node)[1]) == ["VT0745"]
    (node.site / "site.yaml").chmod(0o644)
    (node.site / "site.yaml").write_text(SITE_YAML.replace("memory: 64MiB", 'memory: 64MiB, nodes: "x[1-9]"'))
    assert found_in(doctor._site(node)[1]) == ["VT0926"]


def found_in(result: Result) -> list[str]:
    return [one.code for one in result.findings]


@pytest.mark.root
@pytest.mark.libvirt
@pytest.mark.usefixtures("root", "libvirtd")
def test_this_machine(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """All checks on the real one, with a site that is true of it: what every machine of the tests has is well."""
    (node.site / "cluster.key").touch(mode=0o600)
    (node.site / "cluster.key").write_text("5a" * 32 + "\n")
    code = commands.run(["doctor", "--site", str(node.site), "--format", "json"])
    said = json.loads(capsys.readouterr().out)
    results = {one.check: one for one in (from_json(Result, canonical_json(each)) for each in said)}
    wells = ("site", "cluster key", "programs", "Python modules", "libvirt", "cgroups", "CPUs and memory", "devices")
    for name in (*wells, "images", "mounts", "networks", "traffic filter"):
        assert results[name].state == "ok", results[name]
    assert set(results) == {"site", *(name for name, _ in (*doctor.CHECKS, *doctor.SITE_CHECKS))}
    assert not [one for one in results.values() if one.state == "skipped"]
    assert code == (1 if doctor.failed(results.values()) else 0)


@pytest.mark.root
@pytest.mark.slurm
@pytest.mark.usefixtures("root")
def test_a_real_slurm(node: Node, start_slurm: Callable[[Cluster], Slurm], tmp_path: Path) -> None:
    """What scontrol really prints: with our hook, without, and with other flags."""
    hook = tmp_path / "slurm-hook"
    shutil.copy(HOOKS / "slurm", hook)
    slurm = start_slurm(Cluster(nodes=1, prolog=hook, epilog=hook, hook_limit_s=120))
    node = replace(this_node(node.site, "node1", images=False), environment=slurm.environment)
    assert told(hooks.hooks, node, SITE) == []
    assert len(told(hooks.hooks, node, replace(SITE, hook_limit_s=300))) == 1
    hook.write_text("#!/bin/sh\n")
    assert [one[:46] for one in told(hooks.hooks, node, SITE)] == [
        "error VT0946 Slurm's Prolog is not ours: " + str(hook)[:5],
        "error VT0946 Slurm's Epilog is not ours: " + str(hook)[:5],
    ]
