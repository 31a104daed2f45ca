"""The command line: one module per command, imported when it is called.

Exit codes: 0 fine, 1 findings, 2 usage, 3 internal error; `run` passes the job's own exit code on, `submit` qsub's.
"""

import errno
import os
import sys
import types
from typing import Any

import click

from vtorque_spec.cli.lazy import lazy_group
from vtorque_spec.fault import Fault

COMMANDS = {
    "compile": "Compile a job file into a batch script, or with -o into a bundle.",
    "explain": "Explain a finding's code, or where a job's value comes from.",
    "image": "List, add, build and remove guest images.",
    "init": "Write a commented job file to start from.",
    "lint": "Check job files and report every finding.",
    "own": "Run a job with one's own image; its batch script calls this.",
    "plan": "Show who gets which CPUs and memory of a node.",
    "policy": "Check, test, compare and show the site's rules.",
    "run": "Run a job in its own virtual machine, here and now.",
    "schema": "Print the JSON Schema of job files, site.yaml or policies.",
    "show": "Print the job that a compiled batch script carries.",
    "site": "Check and show a site's files.",
    "submit": "Compile a job file and submit it by qsub or sbatch.",
    "verify": "Prove that a batch script is what a job file compiles to.",
    "completion": "Print the completion script for a shell.",
}


HELP = """Batch jobs that bring their own virtual machine.

\b
vtorque init                                 write a job file to start from
vtorque lint job.vjob.yaml                   check it
vtorque run job.vjob.yaml                    run it on this machine
vtorque submit job.vjob.yaml                 submit it, as: vtorque compile job.vjob.yaml | qsub
"""

group = click.version_option(package_name="vtorque")(lazy_group("vtorque", "vtorque_spec.cli.{}", COMMANDS, HELP))


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit."""
    if sys.stdout is None:  # closed by who called
        _end_output()
    arguments = sys.argv[1:] if arguments is None else arguments
    code = 3
    try:
        code = run_program(group, "vtorque", arguments)
    finally:
        if code not in (0, None) and arguments[:1] == ["compile"] and not sys.stdout.isatty():
            _refuse(arguments)
    sys.exit(code)


def _without_plugins() -> None:
    """Keep pydantic from looking for plugins of other packages.

    None has a part in this program, their code would run in root's children, and the search alone (importlib.metadata)
    takes a twentieth of a compile's time.
    """
    loader = types.ModuleType("pydantic.plugin._loader")
    loader.get_plugins = lambda: ()  # type: ignore[attr-defined] # what pydantic asks that module for
    sys.modules.setdefault(loader.__name__, loader)


def run_program(program: click.Command, name: str, arguments: list[str]) -> int:
    """Run a program with its arguments, print its findings, and return its exit code."""
    _without_plugins()
    try:
        result: Any = program.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        _end_output()  # the reader has gone; nothing is left to say
        return 1
    except Fault as fault:
        from vtorque_spec.cli.common import print_findings
        from vtorque_spec.driver import of_fault

        print_findings([of_fault(fault)])
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _end_output()
            click.echo(f"vtorque: the output cannot be written: {error.strerror}", err=True)
            return 1
        _internal(error)
        return 3
    return result if isinstance(result, int) else 0


def _end_output() -> None:
    """What standard output did not take, it will not take when the program ends."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the whole program


def _refuse(arguments: list[str]) -> None:
    """A pipe into qsub must not submit anything, whatever failed."""
    if any(word.startswith(("-o", "--output")) for word in arguments):
        return
    from vtorque_compilers.script import refusing_script

    try:
        sys.stdout.write(refusing_script("vtorque compile failed; its standard error says why"))
        sys.stdout.flush()
    except OSError:  # who takes nothing submits nothing
        _end_output()


def _internal(error: Exception) -> None:
    import traceback

    place = traceback.extract_tb(error.__traceback__)[-1]
    at = f"{os.path.basename(place.filename)}:{place.lineno}"
    click.echo(f"vtorque: internal error: {type(error).__name__}: {error} (at {at})", err=True)
    click.echo("this is a bug in vtorque, not in your file; VTORQUE_TRACEBACK=1 shows more for the report", err=True)
    if os.environ.get("VTORQUE_TRACEBACK"):
        traceback.print_exception(error)
