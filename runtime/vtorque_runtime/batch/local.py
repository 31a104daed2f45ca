"""No batch system: `vtorque run`, whose own process is the job. Nothing calls a hook."""

from collections.abc import Mapping, Sequence

from vtorque_spec.fault import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vtorque_runtime.batch.contract import Hook, State

_NONE = "`vtorque run` has no batch system"


def hook(arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> "Hook":
    """Raise Fault VT0930."""
    raise Fault("VT0930", f"{_NONE} that could call a hook")


def state(job_id: str, start: str, node: str) -> "State":
    """Tell whether the process that registered the job still runs."""
    from vtorque_runtime.spool import alive, open_registry

    try:
        held = [
            one for one in open_registry("system").registrations() if (one.system, one.batch_id) == ("local", job_id)
        ]
    except Fault:
        return "unknown"
    return "live" if any(map(alive, held)) else "gone"


def offline(node: str, reason: str) -> None:
    """Raise Fault VT0930."""
    raise Fault("VT0930", f"{_NONE} that could take {node} out of service")


def own_job(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return None: no job's body runs here."""
    return None


def elsewhere(nodes: Sequence[str], command: Sequence[str]) -> list[list[str]]:
    """Return nothing: the job has one node."""
    return []
