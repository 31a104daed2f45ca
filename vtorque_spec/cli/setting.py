"""The site that a command works for, and who asks."""

import grp
import os
import pwd
from pathlib import Path

from vtorque_spec.cli.common import finish
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import open_site
from vtorque_spec.policy import Context
from vtorque_spec.site import Site


def the_site(directory: Path | None) -> Site:
    """Return the site that was asked for; prints its findings and exits with 1 when it is not valid."""
    report = Report()
    site = find_site(directory, report)
    if site is None:
        finish(report)
    return site


def find_site(directory: Path | None, report: Report) -> Site | None:
    """Read the site that was asked for, else /etc/vtorque, else the built-in one."""
    default = Path("/etc/vtorque")
    return open_site(directory or (default if (default / "site.yaml").exists() else None), report)


def context_of(uid: int, site: Site) -> Context:
    """Return what the policy may know of the user and the site."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Context(str(uid), (), None, site.batch, site.name)
    names = []
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            names.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            names.append(str(gid))
    return Context(entry.pw_name, tuple(names), None, site.batch, site.name)
