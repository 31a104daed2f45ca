"""What the node would refuse of a user's own image, found where its job is compiled: before hours in a queue."""

import os
import pwd
import sys
from dataclasses import replace
from pathlib import Path

from vtorque_spec.diagnostics import Code, Diagnostic, Report, Span
from vtorque_spec.driver import Checked, of_fault
from vtorque_spec.fault import Fault
from vtorque_spec.policy import Context
from vtorque_spec.resolve.common import said_at


def look(checked: Checked, context: Context, report: Report) -> None:
    """Inspect the files of the job's own image, if it has one, as its node will; the disk is not read whole.

    What is not there is for the node to see, and so are the files of others: each is a warning (VT0559).
    """
    own = checked.job.image.own
    if own is None:
        return
    at = checked.normal.at
    why = _not_ours(context)
    if why is not None:
        message = f"the image `{checked.job.image.name}` was not looked at: {why}"
        hint = "the job's node looks at it; to know before, lint the job as its owner"
        report.add(Code.OWN_UNSEEN, message, at(("image", "disk")), help=hint)
        return
    from vtorque_runtime.images.own import check_disk, check_initrd, check_kernel

    checks = {
        "disk": lambda path: check_disk(path, checked.job.root_disk_bytes),
        "kernel": check_kernel,
        "initrd": check_initrd,
    }
    for member, check in checks.items():
        path, place = Path(getattr(own, member)), at(("image", member))
        if _missing(path):
            hint = "check the path; the job's node opens it there, before the guest boots"
            report.add(Code.OWN_UNSEEN, f"{path} is not there, and was not looked at", place, help=hint)
            continue
        try:
            check(path)
        except Fault as fault:
            report.items.append(_finding(fault, path, place, checked))


def _not_ours(context: Context) -> str | None:
    """Return why this process is not to open the files, if so."""
    uid = os.geteuid()
    if uid == 0:
        return "root opens no file of a user's"
    if sys.platform != "linux":
        return "that needs Linux"
    try:
        me = pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"this machine knows no user {uid}"
    return None if context.user == me else f"its files are for {context.user} to open"


def _missing(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # who opens it is told why it cannot be read
    return False


def _finding(fault: Fault, path: Path, place: Span | None, checked: Checked) -> Diagnostic:
    if fault.code == "VT0905":
        return Diagnostic(Code.OWN_UNSEEN, f"{path} was not looked at: {fault.message}", place, help=fault.help)
    if fault.code == "VT0505":
        place = said_at(checked.normal, ("root_disk", "size")) or place
    return replace(of_fault(fault), span=place)
