"""The program `vtorque`, and `python -m vtorque_spec`."""

import gc


def main() -> None:
    """Run the command line; garbage collection starts with the commands that live long enough for it."""
    gc.disable()  # before anything is imported: a compile lives for a fifth of a second
    from vtorque_spec.cli import main as run

    run()


if __name__ == "__main__":
    main()
