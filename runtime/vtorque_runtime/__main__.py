"""The command `vtorque-runtime`. A hook's way is kept short: it is called for every job of the node."""

import sys

HOOKS = ("prologue", "epilogue")


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0 fine, 1 a fault, 2 usage, 75 and 78 of a job's body, a hook's always 0."""
    argv = sys.argv[1:] if argv is None else argv
    if len(argv) >= 2 and argv[0] in HOOKS and argv[1] not in ("-h", "--help"):
        from vtorque_runtime import hook

        return hook.main(argv[0], argv[1:])
    from vtorque_runtime.commands import run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
