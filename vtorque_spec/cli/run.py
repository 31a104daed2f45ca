"""`vtorque run JOB [--as USER]`: the same stages as in a batch system, on this machine's libvirt."""

import gc
import os
import pwd
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vtorque_spec.cli.common import JOB_FILE, SITE_OPTION, print_findings
from vtorque_spec.cli.setting import context_of, the_site
from vtorque_spec.fault import Fault
from vtorque_spec.policy import Context
from vtorque_spec.site import Site

if TYPE_CHECKING:
    from vtorque_runtime.identity import Draft
    from vtorque_spec.node import Answer
    from vtorque_spec.plan import NodeContext, NodePlan, UserPart
    from vtorque_spec.plan.answer import Needs


@click.command()
@click.argument("job", type=JOB_FILE)
@click.option("--as", "user", metavar="USER", help="Whose job it is, when root runs it. [default: who called sudo]")
@SITE_OPTION
def command(job: Path, user: str | None, site: Path | None) -> int:
    """Run a job in its own virtual machines on this host, and exit with the job's exit code.

    As root the guests run on qemu:///system, and the job as USER: root itself has no jobs. As an ordinary user it runs
    on qemu:///session: an image of one's own with mounts, one of the site without.

    \b
    vtorque run job.vjob.yaml
    sudo vtorque run job.vjob.yaml
    vtorque run job.vjob.yaml --as alice
    """
    gc.enable()
    owner = _owner(user)
    _check_site(site)
    facts = the_site(site)
    context = context_of(owner.pw_uid, facts)
    from vtorque_spec.node import parts_of

    return carry_out(*parts_of(_checked(job, owner, facts, context)), owner, facts, context)


def carry_out(
    machine: str, user_part: "UserPart", owner: pwd.struct_passwd, facts: Site, context: Context,
    batch_id: str | None = None,
) -> int:  # fmt: skip
    """Plan a checked job for this node, run it and undo everything; return the job's exit code.

    `batch_id` is the id of the batch job whose process this is. Raises Fault as the stages do.
    """
    from vtorque_runtime import ledger, local
    from vtorque_runtime.identity import reserve
    from vtorque_runtime.planner import check_needs, compiled, offered
    from vtorque_spec.cli.progress import Phases
    from vtorque_spec.node import needs_of, plan_of
    from vtorque_spec.plan import NodeBundle

    draft = _draft(owner, facts)
    click.echo(f"vtorque: {draft.facts}", err=True)
    needs = needs_of(_planned(machine, facts, context, draft.context))
    check_needs(needs)
    draft = _with_own_image(draft, needs)
    offer = offered(draft.site, needs.network)
    with reserve(draft, needs.vms, offer, _advice(needs, draft.context)) as reserved:

        def planned(node: "NodeContext") -> "NodePlan":
            return plan_of(_planned(machine, facts, context, node, ledger.held(reserved.registry)))

        plan = ledger.settle(reserved, planned)
        bundle = NodeBundle(plan, compiled(plan.guests, reserved.context.vms))
        show = Phases()
        try:
            return local.run(bundle, user_part, reserved, show, batch_id)
        finally:
            show.stop()


def _owner(user: str | None) -> pwd.struct_passwd:
    """Whose job it is: the caller, or for root the one named, or the one who called sudo."""
    if os.geteuid() != 0:
        me = myself()
        if user not in (None, me.pw_name):
            raise Fault("VT0901", f"only root runs jobs for others, and you are {me.pw_name}", help="leave out --as")
        return me
    sudo_uid = os.environ.get("SUDO_UID", "")
    try:
        found = pwd.getpwnam(user) if user else pwd.getpwuid(int(sudo_uid)) if sudo_uid.isdecimal() else None
    except KeyError:
        raise Fault("VT0901", f"there is no user `{user or sudo_uid}` on this machine") from None
    if found is None or found.pw_uid == 0:
        hint = "name the job's owner, as in: vtorque run --as alice JOB"
        raise Fault("VT0901", "root has no jobs: in the guest the job runs as an ordinary user", help=hint)
    return found


def myself() -> pwd.struct_passwd:
    """Return the caller's account. Raises Fault VT0901 where this machine has none of that number."""
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        hint = "run it as a user that this machine knows: in the guest the job needs a name and a home"
        raise Fault("VT0901", f"this machine knows no user of the number {os.geteuid()}", help=hint) from None


def _check_site(site: Path | None) -> None:
    """What root goes by must be root's alone to change."""
    if os.geteuid() != 0:
        return
    from vtorque_spec.site.host import SYSTEM, changeable

    for root in (site, SYSTEM):
        for message, hint in changeable(root) if root is not None and root.exists() else ():
            raise Fault("VT0704", f"{message}, so root does not use it", help=hint)


def _draft(owner: pwd.struct_passwd, site: Site) -> "Draft":
    """What the site says of this node is root's own to know: what a child makes of it is held against that."""
    from vtorque_runtime import identity
    from vtorque_runtime.images.store import SYSTEM_STORE
    from vtorque_spec.node.facts import node_site

    return identity.draft(owner.pw_name, SYSTEM_STORE, node_site(site, identity.node_name()))


def _with_own_image(draft: "Draft", needs: "Needs") -> "Draft":
    """A user's own image is one of the node's for this job; only the user's own process opens it."""
    if needs.own is None:
        return draft
    from vtorque_runtime.images.own import own_files
    from vtorque_spec.cli.progress import file_bars

    with file_bars() as progress:
        image = own_files(needs.own, draft.registry.base, progress)
    return replace(draft, context=replace(draft.context, images=(*draft.context.images, image)))


def _checked(job: Path, owner: pwd.struct_passwd, site: Site, context: Context) -> "Answer":
    """The job file and the scripts beside it are the user's: root lets the user's own ids read them."""
    from vtorque_spec.node import check_job

    groups = os.getgrouplist(owner.pw_name, owner.pw_gid)
    return _ask(owner.pw_uid, owner.pw_gid, groups, check_job, job, site, context)


def _planned(machine: str, site: Site, context: Context, node: "NodeContext", held: Sequence[str] = ()) -> "Answer":
    """What travelled is the user's word still: root lets nobody's ids work it out.

    `held` is what other jobs hold of the node, which is told with a refusal.
    """
    from vtorque_spec.node import plan_job

    nobody = pwd.getpwnam("nobody")
    try:
        return _ask(nobody.pw_uid, nobody.pw_gid, [], plan_job, machine, site, context, node)
    except click.exceptions.Exit:
        for line in held:
            click.echo(f"vtorque: {line}", err=True)
        raise


def _advice(needs: "Needs", node: "NodeContext") -> tuple[int, ...] | None:
    """What numad says, for a job that wants to hear it."""
    if needs.numad_vcpus is None or needs.numad_memory_mib is None:
        return None
    from vtorque_runtime.numad import advised_cells

    return advised_cells(needs.numad_vcpus, needs.numad_memory_mib, node.cells)


def _ask(uid: int, gid: int, groups: list[int], function: Callable[..., bytes], *arguments: object) -> "Answer":
    from vtorque_spec.node import read_answer

    if os.geteuid() == 0:
        from vtorque_runtime.confine import call_as
        from vtorque_spec.node import load_everything

        load_everything()  # now, because the child may not be able to read this program
        raw = call_as(uid, gid, groups, function, *arguments)
    else:
        raw = function(*arguments)
    answer = read_answer(raw)
    print_findings(answer.findings, sources=answer.sources)
    if answer.result is None:
        raise click.exceptions.Exit(1)
    return answer
