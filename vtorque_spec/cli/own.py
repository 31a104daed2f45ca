"""`vtorque own SYSTEM`: what the script of a job with a user's own image runs, as the job's owner on its node."""

import gc
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from vtorque_spec.canonical import DecodeError
from vtorque_spec.carrier import decode_user_part, split_parts
from vtorque_spec.cli.common import SITE_OPTION, print_findings
from vtorque_spec.cli.run import carry_out, myself
from vtorque_spec.cli.setting import context_of, the_site
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Flavour

if TYPE_CHECKING:
    from vtorque_runtime.spool import Registry

_LIMIT_BYTES = 4 * 2**20


@click.command()
@click.argument("system", type=click.Choice(get_args(Flavour)))
@SITE_OPTION
def command(system: Flavour, site: Path | None) -> int:
    """Run a job with one's own image inside a batch job, and exit with the job's exit code.

    Batch scripts call it, with the job on standard input: vtorque compile wrote them so. All of it is the owner's: no
    hook of root's has a part in such a job.
    """
    gc.enable()
    if os.geteuid() == 0:
        raise Fault("VT0556", "root boots no user's own image", help="submit the script as yourself")
    machine, user = split_parts(sys.stdin.read(_LIMIT_BYTES))
    try:
        user_part = decode_user_part(user)
    except DecodeError as error:
        hint = "compile it again: vtorque compile JOB"
        raise Fault("VT0912", f"the job's script is damaged: {error}", help=hint) from None
    owner, facts = myself(), the_site(site)
    from vtorque_runtime.batch import adapter
    from vtorque_runtime.session import own_libvirt
    from vtorque_runtime.spool import open_registry

    job, registry = adapter(system).own_job(os.environ), open_registry("session")
    _clean(registry)
    with own_libvirt(registry):
        context = replace(context_of(owner.pw_uid, facts), batch=system)
        return carry_out(machine, user_part, owner, facts, context, job[1] if job else None)


def _clean(registry: "Registry") -> None:
    """Undo what jobs of the same user's left here that were killed; what is left after that does not stop this one."""
    from vtorque_runtime.reap import reap_sessions
    from vtorque_spec.driver import of_fault

    done, faults = reap_sessions(registry)
    for line in done:
        click.echo(f"vtorque: {line}", err=True)
    print_findings(map(of_fault, faults))
