"""Arrays, dependencies, mail and features in the words of each batch system; filters of the templates."""

from collections.abc import Iterable

from vtorque_compilers.script import quoting
from vtorque_spec.plan import Array, Dependency, Flavour, Mail

_TORQUE_ARRAYS = {
    "after": "afterstartarray",
    "afterok": "afterokarray",
    "afternotok": "afternotokarray",
    "afterany": "afteranyarray",
}
"""Torque waits for a whole array by a word of its own."""

_SLURM_EVENTS = {"abort": "FAIL", "begin": "BEGIN", "end": "END"}


def indices(array: Array, flavour: Flavour) -> str:
    """Return an array as in 0-9%4; OpenPBS has one range with one step. Raises Fault VT0603 where that is none."""
    at_once = "" if array.at_once is None else f"%{array.at_once}"
    if flavour != "openpbs":
        shown = (str(part.first) if part.first == part.last else f"{part.first}-{part.last}" for part in array.ranges)
        return ",".join(shown) + at_once
    if array.step is None:
        raise quoting.cannot_carry(str(array), "an array of OpenPBS's is two indices or more, all equally far apart")
    step = "" if array.step == 1 else f":{array.step}"
    return f"{array.ranges[0].first}-{array.ranges[-1].last}{step}{at_once}"


def dependencies(depends: Iterable[Dependency], flavour: Flavour) -> str:
    """Return what a job waits for, all of it, as in afterok:1:2,afterany:3. Raises Fault VT0603."""
    listed: dict[str, list[str]] = {}
    for one in depends:
        for job in map(quoting.job_id, one.jobs):
            whole_array = flavour == "torque" and "[]" in job
            listed.setdefault(_TORQUE_ARRAYS[one.kind] if whole_array else one.kind, []).append(job)
    return ",".join(":".join([kind, *jobs]) for kind, jobs in listed.items())


def events(mail: Mail, flavour: Flavour) -> str:
    """Return when mail is sent: qsub's letters, sbatch's words."""
    if flavour == "slurm":
        return ",".join(_SLURM_EVENTS[event] for event in mail.events) or "NONE"
    return "".join(event[0] for event in mail.events) or "n"


def addresses(mail: Mail) -> str:
    """Return whom mail is sent to. Raises Fault VT0603."""
    return ",".join(map(quoting.address, mail.to))


def properties(features: Iterable[str], flavour: Flavour) -> str:
    """Return the class's word and the job's features, each once. Raises Fault VT0603."""
    quote = quoting.resource if flavour == "openpbs" else quoting.feature
    return ("&" if flavour == "slurm" else ":").join(dict.fromkeys(map(quote, features)))
