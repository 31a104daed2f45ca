"""libvirt's answers as Faults, its chatter nowhere."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.support.libvirtd import Libvirtd
from vtorque_runtime import kvm
from vtorque_runtime.hypervisor import RESTART_LIMIT_S, Hypervisor, connect
from vtorque_spec.fault import Fault

NOTHING = str(uuid.uuid4())


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    found = connect("test:///default")
    yield found
    found.close()


def domain(identity: str) -> str:
    return (
        f"<domain type='test'><name>{identity}</name><uuid>{identity}</uuid><memory unit='MiB'>32</memory>"
        "<os><type>hvm</type></os></domain>"
    )


def network(identity: str) -> str:
    return f"<network><name>{identity}</name><uuid>{identity}</uuid><ip address='10.213.0.1' prefix='30'/></network>"


def test_a_domain_lives_and_is_destroyed_twice(hypervisor: Hypervisor) -> None:
    identity = str(uuid.uuid4())
    hypervisor.create_domain(domain(identity))
    assert hypervisor.domain_state(identity) == "running"
    assert identity in hypervisor.domain_uuids()
    for _ in range(2):
        hypervisor.destroy_domain(identity)
        assert hypervisor.domain_state(identity) is None
        assert identity not in hypervisor.domain_uuids()


def test_a_network_lives_and_is_destroyed_twice(hypervisor: Hypervisor) -> None:
    identity = str(uuid.uuid4())
    hypervisor.create_network(network(identity))
    assert identity in hypervisor.network_uuids()
    for _ in range(2):
        hypervisor.destroy_network(identity)
        assert identity not in hypervisor.network_uuids()


def test_a_paused_domain_is_not_running(hypervisor: Hypervisor) -> None:
    identity = str(uuid.uuid4())
    hypervisor.create_domain(domain(identity))
    hypervisor._connection.lookupByUUIDString(identity).suspend()
    assert hypervisor.domain_state(identity) == "paused"
    hypervisor.destroy_domain(identity)


class Gone:
    """A connection whose daemon went away."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def lookupByUUIDString(self, _uuid: str) -> None:  # noqa: N802 - libvirt's name
        raise self._error("end of file while reading data")

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's name
        return False


def test_a_daemon_that_is_restarted(hypervisor: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests count as running until it is back, or is away for too long."""
    identity, now, error = str(uuid.uuid4()), [0.0], hypervisor._libvirt.libvirtError
    found = Hypervisor(Gone(error), hypervisor.uri)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with monkeypatch.context() as away:
        away.setattr(hypervisor._libvirt, "open", lambda _uri: Gone(error).lookupByUUIDString(""))
        for now[0] in (5.0, 4.9 + RESTART_LIMIT_S):
            assert found.domain_state(identity) == "running"
        now[0] = 5.0 + RESTART_LIMIT_S
        with pytest.raises(Fault, match="VT0902"):
            found.domain_state(identity)
    assert found.domain_state(identity) == "running", "it connects anew"
    assert found.domain_state(identity) is None, "and is told that the domain has ended meanwhile"
    found.close()


@pytest.mark.parametrize("method", ["suspend", "resume"])
def test_a_daemon_that_is_restarted_while_its_guests_are_to_stop(
    hypervisor: Hypervisor, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    identity, now, error = str(uuid.uuid4()), [5.0], hypervisor._libvirt.libvirtError
    hypervisor.create_domain(domain(identity))
    found = Hypervisor(Gone(error), hypervisor.uri)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with monkeypatch.context() as away:
        away.setattr(hypervisor._libvirt, "open", lambda _uri: Gone(error).lookupByUUIDString(""))
        assert not getattr(found, method)(identity)
        now[0] = 5.0 + RESTART_LIMIT_S
        with pytest.raises(Fault, match="VT0902"):
            getattr(found, method)(identity)
    monkeypatch.setattr(hypervisor._libvirt, "open", lambda _uri: hypervisor._connection)
    assert not getattr(found, method)(identity), "it connects anew"
    for _ in range(2):
        assert getattr(found, method)(identity)
    assert found.domain_state(identity) == {"suspend": "paused", "resume": "running"}[method]


@pytest.mark.parametrize("method", ["suspend", "resume"])
def test_a_guest_that_has_ended_is_neither_stopped_nor_let_go_on(hypervisor: Hypervisor, method: str) -> None:
    """An OSv guest may end at any time, also when its job is suspended."""
    assert getattr(hypervisor, method)(NOTHING)
    identity = str(uuid.uuid4())
    hypervisor.create_domain(domain(identity))
    hypervisor._connection.lookupByUUIDString(identity).destroy()
    assert getattr(hypervisor, method)(identity)


def test_the_power_button_of_a_guest_that_has_ended(hypervisor: Hypervisor) -> None:
    hypervisor.press_power_button(NOTHING)


@pytest.mark.parametrize("xml", ["", "<domain/>", "<domain type='test'><nonsense/></domain>"])
def test_a_refusal_has_libvirts_words(hypervisor: Hypervisor, capfd: pytest.CaptureFixture[str], xml: str) -> None:
    with pytest.raises(Fault, match="VT0903") as caught:
        hypervisor.create_domain(xml)
    assert caught.value.detail
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("uri", ["qemu:///nowhere", "qemu+unix:///system?socket=/nowhere"])
def test_no_answer_names_the_uri(capfd: pytest.CaptureFixture[str], uri: str) -> None:
    with pytest.raises(Fault, match="VT0902") as caught:
        connect(uri)
    assert uri in caught.value.message
    assert capfd.readouterr() == ("", "")


@pytest.mark.libvirt
@pytest.mark.root
def test_trying_a_domain_leaves_none(libvirtd: Libvirtd) -> None:
    identity = str(uuid.uuid4())
    system = connect("qemu:///system")
    assert (
        system.try_domain(kvm._DOMAIN.format(uuid=identity).replace("kvm", "qemu").replace("passthrough", "model"))
        is None
    )
    assert system.try_domain("<domain type='kvm'/>")
    assert identity not in system.domain_uuids()
    system.close()


def test_without_the_module_it_says_so() -> None:
    code = "import sys; sys.modules['libvirt'] = None\nfrom vtorque_runtime.hypervisor import connect\nconnect('x')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True
    )
    assert "VT0905" in done.stderr


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "_QEMU", tuple({"kvm": "tcg", "host": "max"}.get(word, word) for word in kvm._QEMU))


def test_the_loop_ends_on_a_cpu_that_works(emulated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under emulation, which the loop is short enough for."""
    monkeypatch.setattr(kvm, "_CPU_LIMIT_S", 60)
    monkeypatch.setattr(kvm, "_LIMIT_S", 60)
    assert kvm._loop_fault() is None


def test_a_loop_that_does_not_end_is_told(emulated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the CPU time that it took: a busy node is no fault of KVM's."""
    monkeypatch.setattr(kvm, "_LOOP", bytes.fromhex("ebfe"))
    monkeypatch.setattr(kvm, "_LIMIT_S", 60)
    assert kvm._loop_fault() == "a short loop took more than 1 s of CPU time"


def test_a_cpu_that_only_waits_is_told(emulated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "_LOOP", bytes.fromhex("f4"))
    monkeypatch.setattr(kvm, "_LIMIT_S", 1)
    assert kvm._loop_fault() == "a short loop took more than 1 s"


def test_why_kvm_does_not_work_is_one_line(monkeypatch: pytest.MonkeyPatch, hypervisor: Hypervisor) -> None:
    words = "Could not access KVM kernel module: x\n2026-11-22T20:33:31Z qemu-system-x86_64: failed to initialize kvm\n"
    monkeypatch.setattr(kvm, "_loop_fault", lambda: words)
    monkeypatch.setattr(kvm.Path, "exists", lambda _path: True)
    assert kvm.fault(hypervisor) == "failed to initialize kvm"
    monkeypatch.setattr(kvm.Path, "exists", lambda _path: False)
    assert kvm.fault(hypervisor) == "no /dev/kvm"
