"""The command `vtorque-runtime`: what an admin, or a batch script on a node, starts by hand."""

import argparse
import os
import pwd
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vtorque_spec.fault import Fault

if TYPE_CHECKING:
    from vtorque_runtime.spool import Registry

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

NOT_PREPARED_EXIT_CODE = 78
"""EX_CONFIG of sysexits.h."""

_USER_PART_LIMIT = 16 * 1024**2
_WHOSE = "Run it as root; an ordinary user reaches the jobs of `vtorque run` of their own alone."


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0 fine, 1 a fault, 2 usage, 78 nothing was prepared for the job."""
    parser = argparse.ArgumentParser(prog="vtorque-runtime", description="The part of vtorque that works on a node.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    plain: Callable[[], int]
    for plain, purpose in (
        (_reap, "undo what jobs left whose process died"),
        (_job, "the body of a compiled batch script; the user part on standard input"),
    ):
        one = commands.add_parser(plain.__name__[1:], help=purpose, description=purpose)
        one.set_defaults(act=lambda _chosen, plain=plain: plain())
    _add_status(commands)
    _add_iocm(commands)
    chosen = parser.parse_args(argv)
    act: Callable[[argparse.Namespace], int] = chosen.act
    try:
        return act(chosen)
    except Fault as fault:
        _tell(fault)
        return 1


def _reap() -> int:
    from vtorque_runtime.reap import reap

    done, faults = reap(_registry())
    for line in done:
        _say(line)
    for fault in faults:
        _tell(fault)
    return 1 if faults else 0


@dataclass(frozen=True, slots=True)
class Job:
    """A job on this node. `since` is ISO 8601; `cpus` is None before it has some."""

    job: str
    alive: bool
    user: str
    pid: int
    since: str
    cpus: tuple[int, ...] | None


def _status(chosen: argparse.Namespace) -> int:
    from vtorque_runtime.cpulist import list_text
    from vtorque_spec.canonical import canonical_json

    found = list(_jobs())
    if chosen.format == "json":
        _say(canonical_json(found))
        return 0
    for one in found:
        cpus, state = "none yet" if one.cpus is None else list_text(one.cpus), "alive" if one.alive else "dead"
        _say(f"{one.job}  {state}  {one.user}  process {one.pid}  since {one.since}  CPUs {cpus}")
    return 0


def _jobs() -> Iterator[Job]:
    from vtorque_runtime.ledger import claims_of
    from vtorque_runtime.spool import alive

    registry = _registry()
    claims = claims_of(registry)
    for held in registry.registrations():
        since = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(held.started_s))
        cpus = claims[held.job_id].cpus if held.job_id in claims else None
        yield Job(held.job_id, alive(held), _user(held.uid), held.pid, since, cpus)


def _job() -> int:
    from vtorque_spec.canonical import DecodeError
    from vtorque_spec.carrier import decode_user_part

    try:
        decode_user_part(sys.stdin.read(_USER_PART_LIMIT).strip())
    except (DecodeError, UnicodeDecodeError) as error:
        raise Fault("VT0912", f"the script's body is damaged: {error}", help="compile it again") from None
    job_id = os.environ.get("PBS_JOBID")
    job = f"job {job_id}" if job_id else "this script, which no batch system started (PBS_JOBID is not set)"
    sys.stderr.write(
        f"vtorque-runtime: nothing was prepared on this node for {job}\n"
        "  either no vtorque prologue runs here: ask the admin of this node\n"
        "  or a `-v` on qsub's command line replaced the script's: put your variables into `env:` of the job file\n"
    )
    return NOT_PREPARED_EXIT_CODE


def _add_status(commands: "Commands") -> None:
    status = _command(
        commands, "status", "list the jobs on this node",
        f"List the jobs on this node: whether each is alive, whose it is, since when, and its CPUs. {_WHOSE}",
        "vtorque-runtime status --format json",
    )  # fmt: skip
    status.add_argument("--format", choices=("text", "json"), default="text", help="json is for programs")
    status.set_defaults(act=_status)


def _add_iocm(commands: "Commands") -> None:
    iocm = _command(
        commands, "iocm", "see and move the I/O cores of jobs that run",
        f"See the I/O cores of jobs that run here, and let more or fewer of them work. {_WHOSE}",
        "vtorque-runtime iocm set 2 --job 42.server",
    )  # fmt: skip
    acts = iocm.add_subparsers(dest="iocm", required=True, metavar="ACT")
    show = _command(
        acts, "show", "the I/O cores of each running job",
        f"List the I/O cores of each running job: how many it may have (MIN to MAX), and those at work. {_WHOSE}",
        "vtorque-runtime iocm show --format json",
    )  # fmt: skip
    show.add_argument("--format", choices=("text", "json"), default="text", help="json is for programs")
    show.set_defaults(act=_show_iocm)
    change = _command(
        acts, "set", "let N of a job's I/O cores work",
        f"Let N of a job's I/O cores work: its threads and interrupts move there at once, its vCPUs stay. {_WHOSE}",
        "vtorque-runtime iocm set 2 --job 42.server",
    )  # fmt: skip
    change.add_argument("count", metavar="N", type=int, help="from `min_cores` to `max_cores` of the job file's `iocm`")
    change.add_argument("--job", metavar="JOB", help="needed where several jobs run")
    change.set_defaults(act=_set_iocm)


def _command(commands: "Commands", name: str, purpose: str, description: str, example: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=purpose, description=description, epilog=f"example: {example}")


def _show_iocm(chosen: argparse.Namespace) -> int:
    from vtorque_runtime.iocm import rows, table
    from vtorque_spec.canonical import canonical_json

    found = rows(_registry())
    _say(canonical_json(found) if chosen.format == "json" else table(found))
    return 0


def _set_iocm(chosen: argparse.Namespace) -> int:
    from vtorque_runtime.iocm import set_active

    _say(set_active(_registry(), chosen.job, chosen.count))
    return 0


def _registry() -> "Registry":
    from vtorque_runtime.spool import open_registry

    return open_registry("system" if os.geteuid() == 0 else "session")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _tell(fault: Fault) -> None:
    lines = [f"error[{fault.code}]: {fault.message}", *(f"  {line}" for line in (fault.detail or "").splitlines())]
    if fault.help:
        lines.append(f"help: {fault.help}")
    sys.stderr.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
