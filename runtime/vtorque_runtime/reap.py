"""Give back what jobs left that are over: a kill -9, a crash, a reboot of the host, an epilogue that never came.

Whether a job of a batch system is over is that system's to say. `unknown` destroys nothing; `gone` counts when it is
said twice, a minute apart. A job of `vtorque run` is over with its process.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from vtorque_runtime import epilogue, session, teardown
from vtorque_runtime.batch import adapter
from vtorque_runtime.batch.contract import State
from vtorque_runtime.files import boot_id, replace_file
from vtorque_runtime.hypervisor import connect as connect_libvirt
from vtorque_runtime.spool import Registration, Registry, alive
from vtorque_runtime.steps import Connect
from vtorque_spec.fault import Fault

APART_S = 60
_LOG_KEPT_S = 30 * 24 * 3600
_ENDED_KEPT_S = 3600
"""Longer than any hook lives, and no more: a server whose database was lost gives the same ids again."""
_HOOKS_LOG_BYTES = 16 * 1024**2


def reap(registry: Registry, connect: Connect = connect_libvirt) -> tuple[list[str], list[Fault]]:
    """Undo every job that is over; return one sentence for each job, and what could not be undone (VT0911, VT0944)."""
    done, faults = _reap_jobs(registry, registry.registrations(), session.dead(registry), connect)
    faults += registry.damaged()
    try:
        done += [f"{name}: never registered; removed" for name in registry.remove_unfinished()]
        _forget(registry)
    except OSError as error:
        faults.append(Fault("VT0911", f"what is old could not be removed: {error}", help="is a disk read only?"))
    return done, faults


def reap_sessions(registry: Registry) -> tuple[list[str], list[Fault]]:
    """Do what `reap` does for those jobs alone that were killed in a libvirt of their own; no libvirt is asked."""
    dead = session.dead(registry)
    jobs = [held for held in registry.registrations() if any(one.has(held) for one in dead)]
    return _reap_jobs(registry, jobs, dead, session.ended)


def _reap_jobs(
    registry: Registry, jobs: Iterable[Registration], dead: list[session.Session], connect: Connect
) -> tuple[list[str], list[Fault]]:
    done, faults = [], []
    for one in dead:
        one.end()  # before the files go that its guests have open
    for held in jobs:
        asked = session.ended if any(one.has(held) for one in dead) else connect
        try:
            done.append(f"{held.job_id}: {_reap(registry, held, asked)}")
        except Fault as fault:
            faults.append(fault)
        except Exception as error:  # a disk that is full, or whatever it is: the next job may have another trouble
            faults.append(Fault("VT0911", f"job {held.job_id} could not be looked after: {error!r}"))
    left = registry.registrations()
    for one in dead:
        if not any(one.has(held) for held in left):
            one.remove()
            done.append(f"{one.home}: its process is gone; removed")
    return done, faults


def standing(held: Registration) -> State:
    """Return whether the job lives: what its batch system says, or what became of the process of `vtorque run`."""
    if held.system == "local":
        return "live" if alive(held) else "gone"
    return adapter(held.system).state(held.batch_id, held.start, held.node)


def _reap(registry: Registry, held: Registration, connect: Connect) -> str:
    state = standing(held)
    if held.system == "local":
        if state == "live":
            return f"alive, process {held.pid}; not touched"
        epilogue.apply(registry, registry.spool(held.job_id), connect)
        return f"its process {held.pid} is gone; undone"
    doubt = registry.spool(held.job_id).doubt
    if state != "gone":
        doubt.unlink(missing_ok=True)
        return f"{state} says {held.system}; not touched"
    waited = _waited_s(doubt)
    if waited < APART_S:
        return f"gone says {held.system}, for the first time {waited} s ago; undone when it says so in {APART_S} s"
    teardown.end(registry, held.job_id, held.start, connect)
    return f"gone says {held.system}, twice; undone"


def _waited_s(doubt: Path) -> int:
    """Return how long ago the job was first said to be gone; remembers it when this is the first time.

    By the clock that nobody sets; what was said before a reboot does not count.
    """
    now = int(time.monotonic())
    try:
        boot, first = doubt.read_text(encoding="ascii").split()
        since = int(first)
    except (FileNotFoundError, ValueError):
        boot, since = "", 0
    if boot != boot_id():
        replace_file(doubt, f"{boot_id()} {now}")
        return 0
    return now - since


def _forget(registry: Registry) -> None:
    """Remove what is old, of jobs that are not here: tombstones, which are for hooks that still run, and records.

    And tombstones that a crash left unfinished.
    """
    with registry.locked():  # so that none is being written
        for path in (registry.base / "ended").glob(".*"):
            path.unlink()
    here = {held.job_id for held in registry.registrations()}
    for name, kept_s in (("log", _LOG_KEPT_S), ("ended", _ENDED_KEPT_S)):
        directory = registry.base / name
        for path in directory.iterdir() if directory.is_dir() else ():
            if path.name.removesuffix(".jsonl") not in here and path.lstat().st_mtime < time.time() - kept_s:
                path.unlink()
    failed_hooks = registry.log("hooks")
    if failed_hooks.exists() and failed_hooks.stat().st_size > _HOOKS_LOG_BYTES:
        failed_hooks.replace(failed_hooks.with_name("hooks.old.jsonl"))
