"""Directories are ours alone or refused; deletions never leave the spool; the living are told from the dead."""

import os
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.runtime.fakes import FileHypervisor, no_hypervisor
from vtorque_runtime import epilogue, network
from vtorque_runtime.files import start_ticks
from vtorque_runtime.reap import reap
from vtorque_runtime.spool import Registry, alive, open_registry
from vtorque_runtime.steps import DomainUndo, TreeUndo, remove_entry, undo_all
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry("session", tmp_path / "base")


def test_a_base_is_made_for_its_owner_only(registry: Registry) -> None:
    assert [path.stat().st_mode & 0o777 for path in (registry.base, registry.jobs)] == [0o700, 0o700]
    assert open_registry("session", registry.base) == registry


def test_the_system_lane_lets_qemu_pass(tmp_path: Path) -> None:
    registry = open_registry("system", tmp_path / "base")
    spool, _ = registry.register("local-1", os.getuid())
    assert [path.stat().st_mode & 0o777 for path in (registry.base, registry.jobs, spool.path)] == [0o755, 0o711, 0o711]
    assert spool.registration.stat().st_mode & 0o777 == 0o600


def test_a_link_in_place_of_the_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "base").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Fault, match="VT0914"):
        open_registry("session", tmp_path / "base")


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o750, 0o701])
def test_a_base_that_others_enter_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base").chmod(mode)
    with pytest.raises(Fault, match="VT0914") as refused:
        open_registry("session", tmp_path / "base")
    hint = refused.value.help or ""
    assert f"chmod 700 {tmp_path / 'base'}" in hint
    assert "remove" not in hint  # images may be in it


@pytest.mark.root
@pytest.mark.parametrize("name", ["base", "base/jobs"])
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, name: str) -> None:
    open_registry("session", tmp_path / "base")
    os.chown(tmp_path / name, 65534, 65534)
    with pytest.raises(Fault, match="VT0914"):
        open_registry("session", tmp_path / "base")


def test_a_file_in_place_of_the_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").touch()
    with pytest.raises(Fault, match="VT0914") as refused:
        open_registry("session", tmp_path / "base")
    assert refused.value.help == f"remove {tmp_path / 'base'}; it is made anew"


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "a" * 49, "a\n", ".hidden", "ä"])
def test_a_job_id_is_a_plain_name(registry: Registry, job_id: str) -> None:
    with pytest.raises(Fault, match="VT0912"):
        registry.register(job_id, os.getuid())


def test_an_id_is_registered_once(registry: Registry) -> None:
    registry.register("local-1", os.getuid())
    with pytest.raises(Fault, match="VT0914"):
        registry.register("local-1", os.getuid())


def test_live_jobs_have_addresses_of_their_own(registry: Registry) -> None:
    held = [registry.register(f"local-{n}", os.getuid(), vms) for n, vms in enumerate((1, 1, 2, 1))]
    blocks = ["10.213.0.0/29", "10.213.0.8/29", "10.213.0.16/29", "10.213.0.24/29"]
    assert [one.network for _, one in held] == blocks
    registry.remove(held[1][0])
    assert registry.register("local-8", os.getuid(), 5)[1].network == "10.213.0.32/28"
    assert registry.register("local-9", os.getuid())[1].network == blocks[1]


def test_without_addresses_there_is_no_job(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_ALL", IPv4Network("10.213.0.0/28"))
    registry.register("local-1", os.getuid())
    with pytest.raises(Fault, match=r"VT0914.*every network"):
        registry.register("local-2", os.getuid(), 5)
    registry.register("local-3", os.getuid())


def test_a_process_is_known_by_its_start(registry: Registry) -> None:
    _, held = registry.register("local-1", os.getuid())
    assert alive(held)
    assert not alive(replace(held, start_ticks=held.start_ticks - 1))
    assert not alive(replace(held, boot_id="another"))
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert start_ticks(done.pid) is None
    assert not alive(replace(held, pid=done.pid))


@pytest.mark.root
@pytest.mark.parametrize("option", ["hidepid=0", "hidepid=1", "hidepid=2"])
def test_a_process_of_roots_is_known_where_proc_hides_it(option: str) -> None:
    """As the job's body asks, which is an ordinary user's."""
    with subprocess.Popen(["sleep", "60"]) as process, subprocess.Popen(["true"]) as gone:
        gone.wait()
        program = (
            "import os; from vtorque_runtime.files import runs; nobody = [65534] * 3; "
            "os.setgroups([]); os.setresgid(*nobody); os.setresuid(*nobody); "
            f"print(runs({process.pid}, {start_ticks(process.pid)}), runs({gone.pid}, 1))"
        )
        mount = f'mount --make-rprivate / && mount -t proc -o {option} proc /proc && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        process.kill()
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "spool/tree").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").touch()
    (tmp_path / "spool/tree/link").symlink_to(tmp_path / "outside")
    (tmp_path / "spool/link").symlink_to(tmp_path / "outside")
    for name in ("tree", "link", "nothing"):
        remove_entry(tmp_path / "spool", name)
    assert list((tmp_path / "spool").iterdir()) == []
    assert (tmp_path / "outside/kept").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../outside", "/etc", "a/b"])
def test_removing_takes_plain_names_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        remove_entry(tmp_path, name)


def test_undoing_goes_on_after_a_failure_and_names_what_is_left(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    records = [
        {"kind": "tree", "name": "first"},
        {"kind": "domain", "uri": "x", "uuid": "u"},
        {"kind": "tree", "name": "../x"},
        {"kind": "unheard-of"},
    ]
    left = undo_all(records, tmp_path, no_hypervisor)
    assert len(left) == 3
    assert "VT0902" in left[2]
    assert not (tmp_path / "first").exists()


def test_undoing_is_in_reverse(tmp_path: Path) -> None:
    order = []

    class Recorder(FileHypervisor):
        def destroy_domain(self, uuid: str) -> None:
            order.append(uuid)

    records = [{"kind": "domain", "uri": "files:/", "uuid": name} for name in ("a", "b", "c")]
    assert undo_all(records, tmp_path, Recorder) == []
    assert order == ["c", "b", "a"]


def test_an_epilogue_works_twice_and_keeps_what_it_could_not_undo(registry: Registry, tmp_path: Path) -> None:
    spool, _ = registry.register("local-1", os.getuid())
    uri = f"files:{tmp_path}"
    spool.journal.step(TreeUndo("tree", "vm0"), (spool.path / "vm0").mkdir)
    spool.journal.step(DomainUndo("domain", uri, "u"), lambda: FileHypervisor(uri).create_domain("<uuid>u</uuid>"))
    with pytest.raises(Fault, match="VT0911") as caught:
        epilogue.apply(registry, spool, no_hypervisor)
    assert "VT0902" in (caught.value.detail or "")
    assert spool.journal.path.exists()
    epilogue.apply(registry, spool, FileHypervisor)
    epilogue.apply(registry, spool, FileHypervisor)
    assert FileHypervisor(uri).domain_uuids() == set()
    assert [path.name for path in registry.jobs.iterdir()] == [".lock"]


def test_a_domain_that_does_not_die_is_left_over(registry: Registry, tmp_path: Path) -> None:
    class Stubborn(FileHypervisor):
        def destroy_domain(self, uuid: str) -> None:
            pass

    spool, _ = registry.register("local-1", os.getuid())
    uri = f"files:{tmp_path}"
    spool.journal.step(DomainUndo("domain", uri, "u"), lambda: Stubborn(uri).create_domain("<uuid>u</uuid>"))
    with pytest.raises(Fault, match="VT0911") as caught:
        epilogue.apply(registry, spool, Stubborn)
    assert caught.value.detail == "domain u"


def test_reap_undoes_the_dead_and_leaves_the_living(registry: Registry) -> None:
    living, _ = registry.register("local-1", os.getuid())
    dead, held = registry.register("local-2", os.getuid())
    dead.registration.write_text(canonical_json(replace(held, boot_id="the one before")))
    (registry.jobs / "local-3").mkdir()
    done, faults = reap(registry, no_hypervisor)
    assert (len(done), faults) == (3, [])
    assert living.path.exists()
    assert sorted(path.name for path in registry.jobs.iterdir()) == [".lock", "local-1"]


def test_reap_ends_what_a_removal_began(registry: Registry) -> None:
    spool, _ = registry.register("local-1", os.getuid())
    spool.registration.unlink()
    assert reap(registry, no_hypervisor)[1] == []
    assert not spool.path.exists()


def test_without_its_journal_a_job_is_not_forgotten(registry: Registry) -> None:
    """A removal takes the registration first: somebody took the journal away, and guests may run."""
    spool, held = registry.register("local-1", os.getuid())
    spool.registration.write_text(canonical_json(replace(held, boot_id="the one before")))
    spool.journal.path.unlink()
    (fault,) = reap(registry, no_hypervisor)[1]
    assert (fault.code, "is gone" in fault.message) == ("VT0911", True)
    assert spool.path.exists()
