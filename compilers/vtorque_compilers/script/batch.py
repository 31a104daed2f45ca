"""The batch script of each flavour, from the same plan. Limits as measured."""

import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vtorque_compilers.script import quoting, words
from vtorque_spec.fault import Fault
from vtorque_spec.plan import MIB, Flavour, JobPlan, NodeRequest
from vtorque_spec.units import print_duration


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a batch system takes. None: more than a job file can come to."""

    system: str
    script_bytes: int | None
    line_bytes: int | None


_LIMITS = {
    "torque": _Limits("Torque", 65536, 32766),  # a longer script is cut and *run*, a longer line is cut silently
    "openpbs": _Limits("OpenPBS", None, None),
    "slurm": _Limits("Slurm", 4 * MIB, None),
}

_PARTS = {"machine": re.compile(r"VT1\.[A-Za-z0-9+/]+=*"), "user": re.compile(r"VTU1\.[A-Za-z0-9+/]+=*")}
"""Neither a comma, at which qsub splits `-v` and `-l`, nor a dash, which the line that ends the user part has."""

_FILTERS = (
    quoting.directive, quoting.pattern, quoting.units, quoting.comment, quoting.fold,
    words.indices, words.dependencies, words.events, words.addresses, words.properties,
)  # fmt: skip


def script(
    flavour: Flavour, job: JobPlan, request: NodeRequest, machine_part: str, user_part: str, description: str
) -> str:
    """Return the text of the batch script."""
    _check_parts(machine=machine_part, user=user_part)
    text = _environment().get_template("job.sh.j2").render(
        flavour=flavour,
        job=job,
        request=request,
        features=(*(() if request.property is None else (request.property,)), *job.batch.features),
        walltime=print_duration(job.batch.walltime_s),
        machine_part=machine_part,
        user_part=user_part,
        description=description,
    )  # fmt: skip
    parts = {"user part": user_part, "machine part": machine_part, "description": quoting.comment(description)}
    _check_sizes(text, _LIMITS[flavour], parts)
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
    environment.filters |= {quote.__name__: quote for quote in _FILTERS}
    return environment


def _check_parts(**parts: str) -> None:
    for name, part in parts.items():
        if not _PARTS[name].fullmatch(part):
            raise Fault("VT0603", f"the {name} part is not base64 behind its envelope")


def _check_sizes(text: str, limits: _Limits, parts: dict[str, str]) -> None:
    size, longest = len(text), max(text.split("\n"), key=len)
    if limits.line_bytes is not None and len(longest) > limits.line_bytes:
        told = f"a line has {len(longest)} bytes, {limits.system} takes {limits.line_bytes}: {longest[:40]}..."
        raise Fault("VT0603", told)
    if limits.script_bytes is not None and size > limits.script_bytes:
        largest = sorted(parts.items(), key=lambda part: len(part[1]), reverse=True)
        listed = ", ".join(f"{name} {len(part)}" for name, part in largest)
        raise Fault(
            "VT0602",
            f"the batch script has {size} bytes, {limits.system} takes {limits.script_bytes}: {listed}",
            help="keep long texts in files that the job reads, instead of in `run`, `env` or a hook",
        )
