"""The prologue of a job of ours: registered once for each of its starts, then its supervisor's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

from vtorque_runtime import salvage, teardown, verdict
from vtorque_runtime.batch.contract import BatchJob, Hook, System
from vtorque_runtime.files import write_private
from vtorque_runtime.log import LOG, recorded
from vtorque_runtime.planner import SITE
from vtorque_runtime.spool import EndedError, Registration, Registry, Start
from vtorque_runtime.status import FAILED, Publisher
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("SLURM_CONF",)
"""What the batch system itself says to its hooks about where it is."""

_UNDO_LIMIT_S = 1.0
_OTHERS_LIMIT_S = 0.5


def begin(registry: Registry, system: str, hook: Hook, spec: str, site: str | None) -> None:
    """Register the job and start its supervisor; a prologue that comes again for the same start changes nothing.

    What a start before this one left is undone first; where that takes long, the job ends with VT0943. Raises Fault
    VT0912, VT0914, VT0930, VT0931.
    """
    key, start = hook.key(), hook.start()
    with recorded(registry.log(key)):
        known = _known(registry, key)
        if known is not None and known.start == start:
            LOG.info("prologue: the job is registered already")
            return
        if known is not None and not _undone(registry, known):
            _tell_of_leftover(registry, known)
            return
        try:
            job: BatchJob | Fault = hook.job(spec)
        except Fault as fault:
            job = fault
        try:
            with registry.alone(key, _OTHERS_LIMIT_S):
                if _known(registry, key) is not None:
                    LOG.info("prologue: another one was faster")
                    return
                registry.remove_unfinished()
                _register(registry, system, key, start, job, Path(site) if site else SITE)
        except EndedError:
            LOG.info("prologue: an epilogue was faster")
        except TimeoutError:
            LOG.info("prologue: another prologue or epilogue of the job is at work")


def _known(registry: Registry, key: str) -> Registration | None:
    """Who holds the job; one that is damaged beyond repair was not registered by this start, or nothing is lost."""
    try:
        return registry.registration(key)
    except Fault as damaged:
        LOG.error("prologue: %s", damaged)
        return salvage.of_start(registry.spool(key), registry.lane, "")


def _undone(registry: Registry, known: Registration) -> bool:
    """Undo a start of which no epilogue came; tell whether that was done at once.

    In a process of its own, out of the hook's reach: libvirt may hang, and the hook may not.
    """
    LOG.info("prologue: undoes start %s, of which no epilogue came", known.start)
    child = os.fork()
    if child == 0:
        try:
            _leave_the_hook()
            teardown.end(registry, known.job_id, known.start)
        finally:  # what could not be undone is in the job's record
            os._exit(0)
    until = time.monotonic() + _UNDO_LIMIT_S
    while time.monotonic() < until and os.waitpid(child, os.WNOHANG)[0] == 0:
        time.sleep(0.02)
    return not registry.spool(known.job_id).path.exists()


def _leave_the_hook() -> None:
    """The hook's streams are the batch system's, which may wait for their end; its signal mask is anybody's."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    LOG.handlers.clear()  # their file is closed below
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _tell_of_leftover(registry: Registry, known: Registration) -> None:
    """The body of this start finds the status of the start before; it goes with that one."""
    late = Fault(
        "VT0943",
        f"an earlier start of job {known.batch_id} is still being undone on this node",
        help="submit the job again; the admin of this node sees what is left with: vtorque-runtime reap",
    )
    LOG.error("%s", late)
    status = Publisher(registry.spool(known.job_id), known.batch_id, known.node, None)
    status.publish(phase=FAILED, verdict=verdict.of_error(late, status.now.phase))


def _register(registry: Registry, system: str, key: str, start: str, job: BatchJob | Fault, site: Path) -> None:
    batch_id, node = (key, "") if isinstance(job, Fault) else (job.job_id, job.node)
    spool, _ = registry.register(key, 0, 0, Start(cast("System", system), batch_id, start, node))
    status = Publisher(spool, batch_id, node, None)
    try:
        if isinstance(job, Fault):
            raise job
        write_private(spool.batch, canonical_json(job))
        status.publish()
        _start_supervisor(key, site)
    except (Fault, OSError) as failure:
        LOG.error("prologue: failed", exc_info=failure)
        status.publish(phase=FAILED, verdict=verdict.of_error(failure, status.now.phase))
        return
    LOG.info("prologue: registered job %s of %s, start %s", job.job_id, job.user, start)


def _start_supervisor(key: str, site: Path) -> None:
    """It has left the hook's process group before this returns: batch systems kill the group when the hook ends."""
    command = [sys.executable, "-I", "-m", "vtorque_runtime", "supervise", key, "--site", str(site)]
    environment = {"PATH": _PATH, **{name: os.environ[name] for name in _KEPT if name in os.environ}}
    if Path("/run/systemd/system").is_dir():  # else it would end with the service that the hook is of
        kept = [f"--setenv={name}={value}" for name, value in environment.items()]
        command = ["systemd-run", "--quiet", "--collect", "--property=KillMode=process", *kept, "--", *command]
    subprocess.Popen(
        command, env=environment, cwd="/", start_new_session=True, close_fds=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
