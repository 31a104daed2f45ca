"""Torque's batch script. Limits as measured: a longer script is cut and *run*, a longer line is cut silently."""

import re
from pathlib import Path
from typing import NoReturn

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vtorque_compilers.script.quoting import comment, directive, fold
from vtorque_spec.carrier import MACHINE_PART_LIMIT_BYTES
from vtorque_spec.fault import Fault
from vtorque_spec.plan import JobPlan
from vtorque_spec.units import print_duration

SCRIPT_LIMIT_BYTES = 65536
LINE_LIMIT_BYTES = 32766

_PARTS = {"machine": re.compile(r"VT1\.[A-Za-z0-9+/]+=*"), "user": re.compile(r"VTU1\.[A-Za-z0-9+/]+=*")}
"""Neither a comma, at which qsub splits `-v`, nor a dash, which the line that ends the user part has."""


def script(job: JobPlan, machine_part: str, user_part: str, description: str) -> str:
    """Return the text of the batch script."""
    _check_parts(machine=machine_part, user=user_part)
    text = _environment().get_template("torque.sh.j2").render(
        job=job,
        memory_bytes=job.batch.nodes * job.batch.memory_bytes,  # Torque's `mem` is the whole job's
        walltime=print_duration(job.batch.walltime_s),
        machine_part=machine_part,
        user_part=user_part,
        description=description,
    )  # fmt: skip
    _check_sizes(text, {"user part": user_part, "machine part": machine_part, "description": comment(description)})
    return text


def _environment() -> Environment:
    def refuse_none(value: object) -> object:
        if value is None:
            raise TypeError("None reached a template")
        return value

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        finalize=refuse_none,  # StrictUndefined alone renders None as the word
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 - shell, not HTML: the filters below quote
    )
    environment.filters |= {"directive": directive, "comment": comment, "fold": fold}
    return environment


def _check_parts(**parts: str) -> None:
    for name, part in parts.items():
        if not _PARTS[name].fullmatch(part):
            raise Fault("VT0603", f"the {name} part is not base64 behind its envelope")
    if len(parts["machine"]) > MACHINE_PART_LIMIT_BYTES:
        raise Fault(
            "VT0601",
            f"the job's machine part has {len(parts['machine'])} bytes, the batch system carries"
            f" {MACHINE_PART_LIMIT_BYTES}",
            help="shorten what is not `run`, `env` or a hook",
        )


def _check_sizes(text: str, parts: dict[str, str]) -> None:
    longest = max(text.split("\n"), key=len)
    if len(longest) > LINE_LIMIT_BYTES:
        shown = longest[:40]
        raise Fault("VT0603", f"a line has {len(longest)} bytes, qsub takes {LINE_LIMIT_BYTES}: {shown}...")
    if len(text) > SCRIPT_LIMIT_BYTES:
        _too_long(len(text), parts)


def _too_long(size: int, parts: dict[str, str]) -> NoReturn:
    largest = sorted(parts.items(), key=lambda part: len(part[1]), reverse=True)
    listed = ", ".join(f"{name} {len(part)}" for name, part in largest)
    raise Fault(
        "VT0602",
        f"the batch script has {size} bytes, Torque takes {SCRIPT_LIMIT_BYTES}: {listed}",
        help="keep long texts in files that the job reads, instead of in `run`, `env` or a hook",
    )
