"""The site that a command works for, and who asks."""

import grp
import os
import pwd
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

import click

from vtorque_spec.cli.common import finish, print_findings
from vtorque_spec.cli.own_images import look
from vtorque_spec.diagnostics import Report, near_miss
from vtorque_spec.driver import Checked, check_file, open_site
from vtorque_spec.policy import Context
from vtorque_spec.site import Site, builtin


def the_site(directory: Path | None) -> Site:
    """Return the site that was asked for; prints its findings and exits with 1 when it is not valid."""
    report = Report()
    site = find_site(directory, report)
    if site is None:
        finish(report)
    return site


def find_site(directory: Path | None, report: Report, today: date | None = None) -> Site | None:
    """Read the site that was asked for, else /etc/vtorque, else the built-in one, as it is on a day; None: today."""
    return open_site(site_directory(directory), report, today or date.today())


def site_directory(directory: Path | None) -> Path:
    """Return the directory that was asked for, else /etc/vtorque where it holds a site, else the built-in site's."""
    system = Path("/etc/vtorque")
    return directory or (system if (system / "site.yaml").exists() else builtin())


def context_of(uid: int, site: Site) -> Context:
    """Return what the policy may know of a user of this machine, and of the site."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Context(str(uid), (), None, site.batch, site.name, os.uname().nodename)
    return Context(entry.pw_name, groups_of(entry), None, site.batch, site.name, os.uname().nodename)


def asked_context(site: Site, user: str | None, groups: str | None, queue: str | None) -> Context:
    """Return the context of who asks, with what the options `--as`, `--groups` (with commas) and `--queue` say instead.

    Another user's groups are looked up here; for a user that this machine does not know, `--groups` says them.
    """
    context = context_of(os.getuid(), site)
    if user is not None:
        try:
            context = replace(context, user=user, groups=groups_of(pwd.getpwnam(user)))
        except KeyError:
            if groups is None:
                message = f"this machine knows no user `{user}`; say the groups: --groups GROUP,..."
                raise click.UsageError(message) from None
            context = replace(context, user=user)
    if groups is not None:
        context = replace(context, groups=tuple(name.strip() for name in groups.split(",") if name.strip()))
    if queue is not None and site.queues:
        known("queue", queue, site.queues, site)
    return replace(context, queue=queue or context.queue)


def checked_job(job: Path, site: Site, context: Context, report: Report, node_class: str | None = None) -> Checked:
    """Take a job file through every check, with the files of an own image; prints errors and exits with 1."""
    checked = check_file(job, site, context, report, node_class)
    if checked is not None:
        look(checked, context, report)
    if checked is None or report.failed:
        finish(report)
    return checked


def print_warnings(checked: Checked, site: Site, report: Report) -> None:
    """Print what was found in a job that passed, unless a comment of the job hides it."""
    if report.items:
        from vtorque_spec.lint.selection import known_codes
        from vtorque_spec.lint.suppress import visible

        print_findings(visible(checked.document, report.sorted(), date.today(), known_codes(site)))


def known(what: str, name: str, names: Iterable[str], site: Site) -> None:
    """Refuse an option that names something of the site that is not there."""
    if name in names:
        return
    meant = near_miss(name, names)
    hint = f"did you mean {meant}?" if meant else f"it has {', '.join(names)}"
    raise click.UsageError(f"the site `{site.name}` has no {what} `{name}`; {hint}")


def groups_of(entry: pwd.struct_passwd) -> tuple[str, ...]:
    """Return the names of a user's groups on this machine; the number of a group that has no name here."""
    names = []
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            names.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            names.append(str(gid))
    return tuple(names)
