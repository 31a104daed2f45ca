"""The compilers as a confined child of root: `python -I -m vtorque_compilers UID GID`, lines of JSON.

It has loaded all that it needs when it becomes UID for good, and is asked after that. No byte of a user's comes here:
what it is asked is a plan that root has checked.
"""

import sys

from vtorque_compilers.guests import compile_guests
from vtorque_spec.canonical import from_json
from vtorque_spec.confined import become, tell
from vtorque_spec.fault import Fault
from vtorque_spec.plan.answer import FilesAnswer, FilesQuestion, ToldFinding


def main(argv: list[str]) -> int:
    """Answer questions until there are no more."""
    become(int(argv[0]), int(argv[1]))
    tell(FilesAnswer((), ()))
    for line in sys.stdin.buffer:
        tell(_answer(from_json(FilesQuestion, line)))
    return 0


def _answer(asked: FilesQuestion) -> FilesAnswer:
    try:
        return FilesAnswer((), compile_guests(asked.guests, asked.vms))
    except Fault as fault:
        return FilesAnswer((ToldFinding(fault.code, "error", fault.message, fault.help, fault.detail),), ())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
