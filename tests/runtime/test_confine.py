"""Whatever the child does, the parent gets bytes or a Fault."""

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from vtorque_runtime import confine
from vtorque_runtime.confine import Limits, call_as
from vtorque_spec.fault import Fault

ME = (os.getuid(), os.getgid(), os.getgroups())


def facts(path: str) -> bytes:
    return f"{os.getresuid()} {os.getresgid()} {sorted(os.getgroups())} {dict(os.environ)} {path}".encode()


def loop() -> NoReturn:
    while True:
        pass


def sleep() -> bytes:
    time.sleep(1000)
    return b""


def crash() -> bytes:
    ctypes.string_at(1)
    return b""


def allocate() -> bytes:
    return bytes(2**40)


def complain() -> bytes:
    raise Fault("VT0101", "not so", help="so", detail="here")


def fail() -> bytes:
    raise ValueError("\x00 odd \udc80")


def open_file(path: str) -> bytes:
    return Path(path).read_bytes()


def ceilings() -> bytes:
    limits = (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE)
    return str([resource.getrlimit(what) for what in limits]).encode()


def start_another(pipe: int) -> bytes:
    subprocess.run(["sleep", "1000"], env={"PATH": "/usr/bin:/bin"}, pass_fds=(pipe,))
    return b""


def descriptors() -> bytes:
    return " ".join(sorted(os.listdir("/proc/self/fd"), key=int)).encode()


def test_the_answer_comes_back() -> None:
    assert call_as(*ME, open_file, "/proc/sys/kernel/ostype") == b"Linux\n"


@pytest.mark.root
def test_the_child_is_the_user_and_nobody_else() -> None:
    answer = call_as(12345, 23456, [23456, 34567], facts, "x").decode()
    assert answer == "(12345, 12345, 12345) (23456, 23456, 23456) [23456, 34567] {} x"


@pytest.mark.root
def test_the_child_reads_what_the_user_may_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root's")
    (tmp_path / "secret").chmod(0o600)
    with pytest.raises(Fault, match="VT0914") as caught:
        call_as(12345, 12345, [], open_file, str(tmp_path / "secret"))
    assert "PermissionError" in (caught.value.detail or "")


def test_the_child_gets_no_open_file_of_ours(tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as file:
        os.dup2(file.fileno(), 77)
        names = call_as(*ME, descriptors).split()
        os.close(77)
    assert len(names) == 5  # three streams, the pipe, the listing itself
    assert b"77" not in names


def test_the_child_has_ceilings() -> None:
    """Of its own: a parent that dies can't end it."""
    limits = Limits(time_s=7, memory_bytes=2**31, file_bytes=4096)
    assert call_as(*ME, ceilings, limits=limits) == f"[(7, 7), ({2**31}, {2**31}), (4096, 4096)]".encode()
    assert call_as(*ME, ceilings).endswith(b" (0, 0)]"), "it writes to no file, unless that is said"


def test_a_fault_is_passed_on() -> None:
    with pytest.raises(Fault) as caught:
        call_as(*ME, complain)
    fault = caught.value
    assert (fault.code, fault.message, fault.help, fault.detail) == ("VT0101", "not so", "so", "here")


@pytest.mark.parametrize("function", [loop, sleep, crash, allocate, fail])
def test_a_bad_end_is_a_fault(function: Any) -> None:
    with pytest.raises(Fault, match="VT0914"):
        call_as(*ME, function, limits=Limits(time_s=1))


def told_fault(**members: object) -> bytes:
    """A Fault as a child tells it, or what is none."""
    said = b"F" + json.dumps(members).encode()
    return len(said).to_bytes(8, "big") + said


def test_a_long_answer_is_a_fault() -> None:
    with pytest.raises(Fault, match="more than 1000 bytes"):
        call_as(*ME, lambda: b"x" * 100_000, limits=Limits(result_bytes=1000))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"R",
        b"\0" * 8,
        (5).to_bytes(8, "big") + b"Rabc",
        (9).to_bytes(8, "big") + b'F{"x":3}',
        told_fault(),
        told_fault(code="VT0101", message=3),
        told_fault(code="VT0101", message="m", help=3, detail=None),
        told_fault(code="VT0101", message="m", help=None, detail=[]),
        told_fault(code="VT0101", message="m", help=None, detail=None, more=1),
        told_fault(code="XX", message="m", help=None, detail=None),
        told_fault(code="\x1b[2J", message="m", help=None, detail=None),
        (1).to_bytes(8, "big") + b"Z",
    ],
)
def test_garbage_is_a_fault(said: bytes) -> None:
    with pytest.raises(Fault, match="VT0914"):
        confine._opened(said, 0)


def children() -> set[str]:
    """This process's children, whoever started them: a fixture's daemons may be among them."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_no_child_is_left() -> None:
    before = children()
    with pytest.raises(Fault, match="VT0914"):
        call_as(*ME, sleep, limits=Limits(time_s=1))
    assert children() <= before


def test_what_the_child_started_ends_with_it() -> None:
    """The program has the pipe's other end, which nobody else has once the child is gone."""
    reader, writer = os.pipe()
    with pytest.raises(Fault, match="more than 1 s"):
        call_as(*ME, start_another, writer, limits=Limits(time_s=1), keep=(writer,))
    os.close(writer)
    assert select.select([reader], [], [], 10)[0], "it still runs"
    os.close(reader)


def test_the_child_dies_by_the_signals_that_the_parent_catches() -> None:
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        with pytest.raises(Fault, match="signal 15"):
            raise_it(call_as)
    finally:
        signal.signal(signal.SIGTERM, before)


def raise_it(call: Any) -> None:
    try:
        call(*ME, lambda: os.kill(os.getpid(), signal.SIGTERM))
    except Fault as fault:
        raise Fault(fault.code, fault.detail or "") from None
