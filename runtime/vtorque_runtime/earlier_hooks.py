"""Hooks that a node had before ours: the shims run them as root, if nobody but root can change them.

The shims look at the same three entries themselves (`find` in runtime/hooks), for they start no Python for most jobs.
"""

import os
import stat
from pathlib import Path

from vtorque_spec.fault import Fault

DIRECTORY = "/etc/vtorque/hooks"


def refused(path: Path) -> Fault | None:
    """Return the Fault VT0946 of a hook of the site's that the shims do not run, None for one that they do."""
    for one in (path.parent.parent, path.parent, path):
        found = one.lstat()
        if stat.S_ISLNK(found.st_mode):
            return Fault("VT0946", f"{path} is not run: {one} is a link", help="put there what it leads to")
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            what = f"{one} is uid {found.st_uid}'s with mode {stat.S_IMODE(found.st_mode):04o}"
            hint = f"chown root: {one} && chmod go-w {one}"
            return Fault("VT0946", f"{path} is not run: {what}, and root alone may be able to change it", help=hint)
    return None
