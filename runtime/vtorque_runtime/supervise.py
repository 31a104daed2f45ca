"""The supervisor of one job on one node: from its registration to the epilogue that ends it.

It is root's, in a session of its own, and outlives the hook that started it. Whatever goes wrong becomes a verdict that
the job's owner can read; then the node is given back at once, and the registration stays for the epilogue.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vtorque_runtime import handover, ledger, numad, partition, ssh, verdict
from vtorque_runtime.attached import Attached
from vtorque_runtime.batch import adapter
from vtorque_runtime.batch.contract import BatchJob
from vtorque_runtime.bring_up import bring_up
from vtorque_runtime.cgroups import leave_job_cgroup
from vtorque_runtime.confined import RefusedError
from vtorque_runtime.epilogue import release
from vtorque_runtime.files import replace_file
from vtorque_runtime.identity import Reserved, batch_draft, reserve
from vtorque_runtime.images import store
from vtorque_runtime.journal import BuriedError
from vtorque_runtime.keys import read_cluster_keys
from vtorque_runtime.log import LOG, recorded
from vtorque_runtime.osv import guests as osv
from vtorque_runtime.osv.verdict import Ending
from vtorque_runtime.planner import Planner, compiled, offered
from vtorque_runtime.signals import SignalledError, Signals
from vtorque_runtime.spool import EndedError, Registration, Registry, Spool
from vtorque_runtime.status import FAILED, READY, REGISTERED, Publisher, VmStatus
from vtorque_runtime.watch import TICK_S, Watch, Watches
from vtorque_spec.canonical import DecodeError, canonical_json, from_json
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeBundle, NodeContext, NodeSite
from vtorque_spec.plan.answer import Question, ToldFinding
from vtorque_spec.plan.context import partition_name

_USAGE_EVERY_S = 5.0


def supervise(registry: Registry, key: str, site: Path) -> int:
    """Prepare the registered job and look after its guests until a signal ends this process; 0, or 1 for a verdict."""
    with Signals() as signals, recorded(registry.log(key)):
        try:
            registered = registry.registration(key)
            if registered is None:
                return 0  # an epilogue was faster
            held = registry.adopt(registered)
        except EndedError as ended:
            LOG.info("%s", ended)
            return 0
        try:
            job = _batch_job(registry.spool(key))
        except Fault as damaged:
            LOG.error("%s", damaged)
            status = Publisher(registry.spool(key), held.batch_id, held.node, None)
            status.publish(phase=FAILED, verdict=verdict.of_error(damaged, REGISTERED))
            return 1
        LOG.info("supervises job %s, start %s, of %s", job.job_id, job.start, job.user)
        return _Supervisor(registry, held, job, site, signals).run()


@dataclass
class _Supervisor:
    registry: Registry
    held: Registration
    job: BatchJob
    site: Path
    signals: Signals
    facts: NodeSite | None = None

    def __post_init__(self) -> None:
        self.spool = self.registry.spool(self.held.job_id)
        self.status = Publisher(self.spool, self.job.job_id, self.job.node, None)
        self.clock_s = time.monotonic() - time.time()  # once, at the start: a clock that is set later moves no end

    def run(self) -> int:
        leave_job_cgroup(self.job.job_id)
        self.status.supervised()
        try:
            with ExitStack() as stack:
                self._prepare_and_watch(stack)
        except (SignalledError, BuriedError, EndedError) as ended:
            LOG.info("ends: %s", ended)
            return 0
        except Exception as error:  # whatever it is, the owner is told and the node given back
            LOG.error("failed", exc_info=error)
            self._give_up(error)
            return 1
        return 0

    def _prepare_and_watch(self, stack: ExitStack) -> None:
        reserved, bundle = self._plan()
        stack.callback(reserved.release_ports)
        plan = bundle.plan
        for note in plan.notes:
            self.status.note(note)
        self.status.publish(vms=tuple(VmStatus(guest.hostname, "staging") for guest in plan.guests))
        attached = Attached(self.spool.attached, plan.login)
        stack.callback(attached.close)
        ends_s = self.job.ends_s or self.held.started_s + (self.job.walltime_s or plan.walltime_s)
        told = handover.of_plan(plan, reserved.context.vms, self.job.job_id, int(ends_s + self.clock_s))
        replace_file(self.spool.handover, canonical_json(told), 0o400, self.status.owner)
        stopped = partial(self._stopped, attached)
        watches: Watches | osv.Guests
        if plan.guests[0].kind == "osv":
            part, left_s = reserved.context.partition, ends_s - time.time()
            watches = osv.start(bundle, reserved, self.signals, self.status, stack, left_s, partial(self._ended, part))
            watches.told_to_stop = attached.asked_to_stop
            watches.wait(self.signals, stopped)
        else:
            watches, master = bring_up(bundle, reserved, self.signals, self.status, stack, stopped)
            ssh.end(master)
        self.status.phase(READY)
        self._watch(watches, stopped, reserved.context.partition)

    def _plan(self) -> tuple[Reserved, NodeBundle]:
        """Everything is decided here, by the children and root together."""
        self.status.phase("planning")
        with Planner(self.job.node, self.site) as planner:
            self.facts = planner.site
            keys = read_cluster_keys(self.site / "cluster.key")
            draft = batch_draft(self.job, self.held, self.registry, planner.site, keys, store.SYSTEM_STORE)
            login = draft.context.login
            self.status.owner = (login.uid, login.groups[0].gid)
            self.status.publish()
            groups = tuple(group.name for group in login.groups)

            def question(node: NodeContext) -> Question:
                return Question(self.job.spec, login.user, groups, self.job.queue, node)

            needs = planner.needs(question(draft.context))
            self.signals.check()
            advised = None
            if needs.numad_vcpus is not None and needs.numad_memory_mib is not None:
                advised = numad.advised_cells(needs.numad_vcpus, needs.numad_memory_mib, draft.context.cells)
            reserved = reserve(draft, needs.vms, offered(planner.site, needs.network), advised)
            self.held = reserved.registration
            try:
                plan = ledger.settle(reserved, lambda node: planner.plan(question(node)))
            except RefusedError as refused:
                check_kvm(refused, planner.site, reserved.context)
                raise RefusedError([*refused.findings, *self._held()]) from None
            for one in planner.warnings:
                self.status.note(f"{one.severity}[{one.code}]: {one.message}")
        self.signals.check()
        return reserved, NodeBundle(plan, compiled(plan.guests, reserved.context.vms))

    def _held(self) -> list[ToldFinding]:
        """What other jobs hold of the node may be why this one found no room: then it is not the job's fault."""
        said = ledger.held(self.registry)
        if not said:
            return []
        message = "other jobs hold a part of what the batch system gave to this one"
        return [ToldFinding("VT0916", "error", message, "run it again when they are over", "\n".join(said))]

    def _stopped(self, attached: Attached, guests: Sequence[Watch]) -> bool:
        """Let the guests stop, and go on, with the processes of the job; tell whether they are stopped."""
        stopped = attached.stopped()
        if stopped != self.status.now.suspended:
            done = [(one.hypervisor.suspend if stopped else one.hypervisor.resume)(one.uuid) for one in guests]
            if all(done):
                self.status.update(suspended=stopped)
        return stopped

    def _ended(self, part: str | None, guest: str, ending: Ending) -> None:
        """Who follows the job may end with the last of its guests, and tell before what they took."""
        if part is not None:
            self.status.update(usage=partition.usage(part, self.status.now.usage))
        self.status.ended(guest, ending)

    def _watch(
        self, watches: Watches | osv.Guests, stopped: Callable[[Sequence[Watch]], bool], part: str | None
    ) -> None:
        """Look after the guests until a signal comes; raises the Fault of one that was lost."""
        measured = 0.0
        while True:
            self.signals.wait(TICK_S)
            self.signals.check()
            lost = None if stopped(watches.guests) else watches.look()
            if lost is not None:
                raise lost
            if part is not None and time.monotonic() - measured > _USAGE_EVERY_S:
                measured = time.monotonic()
                self.status.update(usage=partition.usage(part, self.status.now.usage))

    def _give_up(self, error: Exception) -> None:
        """Tell the owner; the guests' share of the node is free again before that."""
        if isinstance(error, Fault):
            error = partition.explained(error, partition_name(self.held.job_id))
        found = verdict.of_error(error, self.status.now.phase)
        try:
            release(self.spool)
        except Fault as left:
            LOG.error("%s: %s", left, left.detail)
        self.status.publish(phase=FAILED, verdict=found)
        if found.kind in verdict.OFFLINE and self.facts is not None and self.facts.node_fault == "offline":
            reason = "; ".join(f"vtorque {one.code}: {one.message}" for one in found.findings)
            try:
                adapter(self.job.system).offline(self.job.node, reason)
            except Fault as fault:
                LOG.error("%s: %s", fault, fault.detail)


def check_kvm(refused: RefusedError, site: NodeSite, context: NodeContext) -> None:
    """Raise Fault VT0907 where the child refuses for want of KVM, and root found itself that the site's KVM fails here.

    The child's word alone takes no node out of service.
    """
    named = any(one.code == "VT0907" for one in refused.findings)
    if named and site.hypervisor == "kvm" and context.virt == "qemu":
        hint = "see what `vtorque-runtime doctor` says on the node"
        raise Fault("VT0907", f"the site runs guests on KVM, and {context.node} has none that works", help=hint)


def _batch_job(spool: Spool) -> BatchJob:
    try:
        return from_json(BatchJob, spool.batch.read_bytes())
    except (OSError, DecodeError) as error:
        raise Fault("VT0944", f"{spool.batch} is damaged: {error}", help="submit the job again") from None


def detach() -> None:
    """Let this process go by nothing that it got from the hook that started it.

    Some batch systems start their hooks with signals blocked or ignored, and with a mask of their own. SIGPIPE stays
    ignored, as Python has it: a child, or libvirt's daemon, that went away must not take the supervisor along.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    os.chdir("/")
