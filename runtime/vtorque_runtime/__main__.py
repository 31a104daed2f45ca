"""The command `vtorque-runtime`. A hook's way is kept short: it is called for every job of the node."""

import os
import sys

HOOKS = ("prologue", "epilogue")


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0 fine, 1 a fault, 2 usage, 75 and 78 of a job's body, a hook's always 0."""
    argv = sys.argv[1:] if argv is None else argv
    _open_streams()
    if len(argv) >= 2 and argv[0] in HOOKS and argv[1] not in ("-h", "--help"):
        from vtorque_runtime import hook

        return hook.main(argv[0], argv[1:])
    from vtorque_runtime.commands import run

    return run(argv)


def _open_streams() -> None:
    """A stream that the caller closed would be None, and its number the next file's that is opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the whole program


if __name__ == "__main__":
    sys.exit(main())
