"""The prologue of a job of ours: registered once for each of its starts, then its supervisor's."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

from vtorque_runtime import salvage, teardown, verdict
from vtorque_runtime.batch.contract import BatchJob, Hook, System
from vtorque_runtime.files import replace_file, write_private
from vtorque_runtime.log import LOG, recorded
from vtorque_runtime.planner import SITE
from vtorque_runtime.spool import EndedError, Registration, Registry, Start
from vtorque_runtime.status import FAILED, Publisher
from vtorque_spec.canonical import canonical_json
from vtorque_spec.fault import Fault

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What the supervisor finds the programs that it starts by; the hooks have the runtime's own before it."""
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
    spec = spec.encode("utf-8", "replace").decode("utf-8")  # a variable of the hook's may hold any bytes
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
                named = Start(cast("System", system), hook.names()[0], start, hook.names()[1])
                _register(registry, key, named, job, Path(site) if site else SITE)
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
    """Undo a start of which no epilogue came; tell whether that was done at once."""
    LOG.info("prologue: undoes start %s, of which no epilogue came", known.start)
    teardown.end_apart(registry, known.job_id, known.start, _UNDO_LIMIT_S)
    return not registry.spool(known.job_id).path.exists()


def _tell_of_leftover(registry: Registry, known: Registration) -> None:
    """The body of this start finds it in the place of the status of the start before; it goes with that one."""
    late = Fault(
        "VT0943",
        f"an earlier start of job {known.batch_id} is still being undone on this node",
        help="submit the job again; the admin of this node sees what is left with: vtorque-runtime reap",
    )
    LOG.error("%s", late)
    spool = registry.spool(known.job_id)
    now = Publisher(spool, known.batch_id, known.node, None).now
    told = replace(now, phase=FAILED, verdict=verdict.of_error(late, now.phase))
    replace_file(spool.status, canonical_json(told), 0o444)


def _register(registry: Registry, key: str, start: Start, job: BatchJob | Fault, site: Path) -> None:
    if not isinstance(job, Fault):
        start = replace(start, node=job.node)  # as the batch system's record has it
    spool, _ = registry.register(key, 0, 0, start)
    status = Publisher(spool, start.batch_id, start.node, None)
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
    LOG.info("prologue: registered job %s of %s, start %s", job.job_id, job.user, start.start)


def _start_supervisor(key: str, site: Path) -> None:
    """It has left the hook's process group before this returns: batch systems kill the group when the hook ends."""
    command = [sys.executable, "-I", "-m", "vtorque_runtime", "supervise", key, "--site", str(site)]
    environment = {"PATH": PATH, **{name: os.environ[name] for name in _KEPT if name in os.environ}}
    if Path("/run/systemd/system").is_dir():  # else it would end with the service that the hook is of
        kept = [f"--setenv={name}={value}" for name, value in environment.items()]
        command = ["systemd-run", "--quiet", "--collect", "--property=KillMode=process", *kept, "--", *command]
    subprocess.Popen(
        command, env=environment, cwd="/", start_new_session=True, close_fds=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
