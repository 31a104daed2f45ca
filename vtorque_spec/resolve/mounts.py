"""Mounts: the names of the site looked up, and targets that exclude each other."""

from pathlib import PurePosixPath

from vtorque_spec.diagnostics import Code, Report, Span, near_miss
from vtorque_spec.plan import Mount
from vtorque_spec.site import Site
from vtorque_spec.site.model import GUEST_OWNS
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.machine import Mount as MountSpec
from vtorque_spec.spec.parse import NormalForm


def resolve_mounts(spec: JobSpec, normal: NormalForm, site: Site, report: Report) -> tuple[Mount, ...]:
    """Look the job's mounts up at the site; adds a finding for each that cannot be."""
    found: list[Mount] = []
    taken: dict[str, str] = {}
    for index, mount in enumerate(spec.mounts or ()):
        offered = site.mounts.get(mount.name)
        if offered is None:
            meant = near_miss(mount.name, site.mounts)
            hint = (
                f"write `{meant}`"
                if meant
                else f"the site `{site.name}` has {', '.join(sorted(site.mounts)) or 'none'}"
            )
            report.add(
                Code.UNKNOWN_MOUNT, f"there is no mount `{mount.name}`", normal.at(("mounts", index, "name")), help=hint
            )
            continue
        if mount.mode == "rw" and offered.mode == "ro":
            message = f"the site offers `{mount.name}` read-only"
            report.add(Code.MOUNT_MODE, message, normal.at(("mounts", index, "mode")), help="write `mode: ro`")
        resolved = Mount(
            mount.name, offered.source, mount.target or offered.target, (mount.mode or offered.mode) == "ro"
        )
        _check_target(mount, resolved, index, taken, normal, report)
        found.append(resolved)
    return tuple(found)


def _check_nesting(mount: Mount, taken: dict[str, str], place: Span | None, report: Report) -> None:
    """What is mounted inside a user's directory is mounted wherever a link there leads, by the guest's root."""
    above = next((taken[str(parent)] for parent in PurePosixPath(mount.target).parents if str(parent) in taken), None)
    below = next((name for target, name in taken.items() if target.startswith(mount.target + "/")), None)
    if above or below:
        message = f"the mounts `{mount.name}` and `{above or below}` lie one inside the other"
        report.add(Code.MOUNT_INSIDE, message, place, help="mount them side by side, as in /data and /scratch")


def _check_target(
    said: MountSpec, mount: Mount, index: int, taken: dict[str, str], normal: NormalForm, report: Report
) -> None:
    place = normal.at(("mounts", index, "target"))
    earlier = taken.get(mount.target)
    if earlier is not None:
        message = f"`{earlier}` and `{mount.name}` are both mounted at {mount.target}"
        hint = "remove one of them" if earlier == mount.name else "give one of them another `target`"
        report.add(Code.TARGET_TWICE, message, place, help=hint)
    _check_nesting(mount, taken, place, report)
    taken.setdefault(mount.target, mount.name)
    if said.target and any(said.target == own or said.target.startswith(own + "/") for own in GUEST_OWNS):
        message = f"a mount at {said.target} would hide a directory of the guest's own"
        report.add(Code.RESERVED_TARGET, message, place, help="mount it elsewhere, as in /data")
