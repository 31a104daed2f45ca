"""What a confined child of root's does of its own accord: it becomes nobody, and answers in lines of JSON."""

import os
import sys

from vtorque_spec.canonical import canonical_json


def become(uid: int, gid: int) -> None:
    """Be that user for good where root is called, without groups, and in any case without an environment."""
    os.environ.clear()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def tell(answer: object) -> None:
    """Write the answer to standard output, as canonical JSON on one line."""
    sys.stdout.write(canonical_json(answer) + "\n")
    sys.stdout.flush()
