"""Run one function as another user, in a child process with limits, and take back bytes.

For reading what a user wrote: root's process opens no file as the user and parses nothing hostile itself. Whatever the
child does (loop, crash, eat memory, answer garbage) ends as a Fault in the parent. What it starts ends with it.
"""

import contextlib
import os
import pwd
import re
import resource
import select
import signal
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

from vtorque_spec.canonical import DecodeError, canonical_json, from_json
from vtorque_spec.fault import Fault

_RESULT, _FAULT, _ERROR = b"R", b"F", b"E"
_CODE = re.compile(r"VT[0-9]{4}")
_REAP_LIMIT_S = 3.0
_LENGTH_BYTES = 8
"""The answer's length goes before it: a child that dies while it writes has not answered."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`time_s` bounds wall and CPU time alike, `memory_bytes` the address space, `result_bytes` the answer.

    `file_bytes` is where the last byte may be that is written to a file.
    """

    time_s: int = 20
    memory_bytes: int = 2 * 1024**3
    result_bytes: int = 16 * 1024**2
    file_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Told:
    """A Fault on its way from the child."""

    code: str
    message: str
    help: str | None
    detail: str | None


def call_as(
    uid: int,
    gid: int,
    groups: Sequence[int],
    function: Callable[..., bytes],
    *arguments: object,
    limits: Limits = Limits(),
    keep: Sequence[int] = (),
) -> bytes:
    """Return `function(*arguments)`, computed as `uid` with exactly these groups and an empty environment.

    The caller is root or `uid` itself. Of its open files the function has those of `keep`, whose positions it shares.
    A Fault that the function raises is raised here again; anything else that goes wrong is a Fault VT0914.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(writer, uid, gid, groups, function, arguments, limits, keep)
    os.close(writer)
    try:
        answer = _read(reader, limits)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # it has not come so far as to make its own group
            os.killpg(child, signal.SIGKILL)
        status = _reap(child)
    return _opened(answer, status)


def reader_ids() -> tuple[int, int]:
    """Return uid and gid of who reads what others wrote: nobody's where root asks, else one's own."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()  # which in a container may have no name
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _reap(child: int) -> int:
    """Return the status of a killed child; one that hangs in the kernel, on a file system that hangs, is left to it."""
    end = time.monotonic() + _REAP_LIMIT_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    raise Fault("VT0914", "a confined child does not end; a file system of the user's may hang")


def _in_child(
    writer: int,
    uid: int,
    gid: int,
    groups: Sequence[int],
    function: Callable[..., bytes],
    arguments: tuple[object, ...],
    limits: Limits,
    keep: Sequence[int],
) -> NoReturn:
    try:
        answer = b""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()  # the caller's terminal is out of its reach
        _become(uid, gid, groups)
        _close_all_but({writer, *keep})  # before the limit on open files, which would hide those above it
        _limit(limits)
        os.environ.clear()
        answer = _RESULT + function(*arguments)
    except Fault as fault:
        told = _Told(fault.code, fault.message, fault.help, fault.detail)
        answer = _FAULT + canonical_json(told).encode()
    except BaseException as error:  # the child must not return into the parent's code, whatever comes
        answer = _ERROR + f"{type(error).__name__}: {error}"[:1000].encode("utf-8", "replace")
    try:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
    finally:
        os._exit(0)


def _become(uid: int, gid: int, groups: Sequence[int]) -> None:
    if os.geteuid() == 0:
        os.setgroups(list(groups))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid):
        raise PermissionError(f"not uid {uid}")


def _limit(limits: Limits) -> None:
    for what, most in (
        (resource.RLIMIT_CPU, limits.time_s),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _close_all_but(kept: Set[int]) -> None:
    """Locks, ports and connections of the parent are no business of the child's."""
    for before, after in pairwise((2, *sorted(kept - {0, 1, 2}), os.sysconf("SC_OPEN_MAX"))):
        os.closerange(before + 1, after)


def _read(reader: int, limits: Limits) -> bytes:
    end = time.monotonic() + limits.time_s
    answer = bytearray()
    while select.select([reader], [], [], max(end - time.monotonic(), 0))[0]:
        part = os.read(reader, 65536)
        if not part:
            return bytes(answer)
        answer += part
        if len(answer) > limits.result_bytes:
            raise Fault("VT0914", f"a confined child gave more than {limits.result_bytes} bytes")
    raise Fault("VT0914", f"a confined child took more than {limits.time_s} s")


def _opened(answer: bytes, status: int) -> bytes:
    length, told = answer[:_LENGTH_BYTES], answer[_LENGTH_BYTES:]
    kind, content = told[:1], told[1:]
    whole = int.from_bytes(length, "big") == len(told)
    if whole and kind == _RESULT:
        return content
    if whole and kind == _FAULT:
        raise _told_fault(content)
    why = content.decode("utf-8", "replace") if whole and kind == _ERROR else _ending(status)
    raise Fault("VT0914", "a confined child failed", detail=why)


def _told_fault(content: bytes) -> Fault:
    try:
        told = from_json(_Told, content)
    except DecodeError:
        told = None
    if told is None or not _CODE.fullmatch(told.code):
        return Fault("VT0914", "a confined child gave an answer that can't be read")
    return Fault(told.code, told.message, help=told.help, detail=told.detail)


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"the child ended by signal {-code}" if code < 0 else f"the child ended without an answer, exit code {code}"
