"""What can still be told of a job when a file of its spool is damaged: the other files say much of it once more.

One damaged job is that job's trouble alone: no other job of the node, and no epilogue, may stop because of it.
"""

from ipaddress import IPv4Interface

from vtorque_runtime import status
from vtorque_runtime.batch.contract import BatchJob
from vtorque_runtime.files import boot_id
from vtorque_runtime.log import LOG
from vtorque_runtime.spool import VERSION, Lane, Registration, Spool
from vtorque_spec.canonical import DecodeError, from_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Claim, NodePlan, TapNic


def registration(spool: Spool, lane: Lane, error: DecodeError) -> Registration:
    """Return the registration that `error` says cannot be read, from the files beside it. Raises Fault VT0944."""
    try:
        job = from_json(BatchJob, spool.batch.read_bytes())
    except (OSError, DecodeError):
        hint = f"when the job is over: end what {spool.journal.path} lists, then remove {spool.path}"
        raise Fault("VT0944", f"{spool.registration} is damaged: {error}", help=hint) from None
    return _registration(spool, lane, job.start, job)


def of_start(spool: Spool, lane: Lane, start: str) -> Registration:
    """Return a registration for a start of a job, whatever its files say: an epilogue knows which one is over."""
    return _registration(spool, lane, start, None)


def claim(spool: Spool, error: DecodeError) -> Claim | None:
    """Return what the job holds, from its plan; None where that cannot be told, which goes into the record."""
    plan = _plan(spool)
    if plan is None:
        LOG.error("%s is damaged, so what the job holds is given to others too: %s", spool.claim, error)
    return None if plan is None else plan.claim


def seen(spool: Spool) -> status.Status | None:
    """Return how far the job was, None where that cannot be told."""
    try:
        return status.read(spool.state)
    except Fault as damaged:
        LOG.error("%s", damaged)
        return None


def _registration(spool: Spool, lane: Lane, start: str, job: BatchJob | None) -> Registration:
    now, plan = seen(spool), _plan(spool)
    return Registration(
        version=VERSION,
        job_id=spool.path.name,
        system=job.system if job else "local",
        batch_id=job.job_id if job else spool.path.name,
        start=start,
        node=job.node if job else "",
        lane=lane,
        uid=plan.login.uid if plan else 0,
        pid=now.pid if now else 0,
        start_ticks=now.start_ticks if now else 0,
        boot_id=boot_id(),
        started_s=int(spool.path.stat().st_mtime),
        network=_network(plan),
    )


def _plan(spool: Spool) -> NodePlan | None:
    try:
        return from_json(NodePlan, spool.plan.read_bytes())
    except (OSError, DecodeError):
        return None


def _network(plan: NodePlan | None) -> str:
    """The block of addresses that the guests have: a job that does not have their card's kind has none."""
    card = plan.guests[0].machine.nic if plan else None
    if not isinstance(card, TapNic) or card.kind != "network":
        return ""
    return str(IPv4Interface(f"{card.address}/{card.prefix}").network)
