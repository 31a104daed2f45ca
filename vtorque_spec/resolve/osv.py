"""OSv guests: what they run, and what they cannot have: there is one process, one user, and nobody who logs in.

The reasons are OSv's own: fork() returns an error (libc/process), setuid() aborts (libc/user.cc), virtiofs is read-only
(fs/virtiofs/virtiofs_vnops.cc), and exit() powers the VM off (runtime.cc).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from vtorque_spec.diagnostics import Code, Report, near_miss
from vtorque_spec.document import Path
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Mount, OsvImage, OsvRun, Variable
from vtorque_spec.resolve.common import said, said_at
from vtorque_spec.resolve.osv_line import (
    KERNELS_OWN,
    LONGEST_ADDRESS,
    LONGEST_NETWORK,
    LONGEST_TAG,
    command_line,
    mount_commands,
    mount_options,
    unsayable,
)
from vtorque_spec.site import Site
from vtorque_spec.site.image import CatalogueImage, Osv
from vtorque_spec.site.offers import osv_image
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.parse import NormalForm
from vtorque_spec.spec.user import WAYS, Run

_STARTERS = frozenset(
    {"sh", "bash", "dash", "csh", "zsh", "mpirun", "mpiexec", "orterun", "srun", "xargs", "make", "env"}
)
"""Programs that do nothing but start others."""

_SWITCHERS = frozenset({"su", "sudo", "setpriv", "runuser", "gosu"})
"""Programs that become other users."""

Refusal = tuple[Path, str, str]
"""A place in the job, what is wrong there, and what to do about it."""


def check_run(spec: JobSpec, normal: NormalForm, image: CatalogueImage | None, report: Report) -> None:
    """A Linux guest runs text of a shell, an OSv guest commands."""
    if image is None:
        return
    way = next(name for name in WAYS if getattr(spec.run, name) is not None)
    if (way in ("text", "script")) == (image.guest == "linux"):
        return
    if image.guest == "osv":
        message = f"`{image.name}` is an OSv image, which has no shell for a script"
        hint = "write `run: {command: [/program.so, ARGUMENT]}`"
        if image.osv and image.osv.config_sets:
            hint += f", or `config_set`: {', '.join(image.osv.config_sets)}"
    else:
        message = f"`run.{way}` is for OSv, and `{image.name}` is a Linux image"
        hint = "write the command as text of a shell, as in `run: ./solver -v`"
    report.add(Code.RUN_KIND, message, normal.at(("run", way)), help=hint)


def resolve_osv(
    spec: JobSpec,
    normal: NormalForm,
    image: CatalogueImage | None,
    mounts: tuple[Mount, ...],
    site: Site,
    report: Report,
) -> OsvRun | None:
    """Return what the guests run, None for Linux; adds a finding for each thing that OSv cannot do."""
    like = None if image is None else osv_image(image)
    if image is None or image.osv is None or like is None:
        return None
    for path, message, hint in (*_lacks(spec), *_mounts(spec, mounts, image, like)):
        report.add(Code.OSV_LACKS, message, normal.at(path), help=hint)
    _check_network(spec, normal, site, report)
    _check_exports(spec, normal, mounts, site, report)
    run = OsvRun(
        commands=_commands(spec.run, normal, image.name, image.osv, report),
        env=tuple(Variable(name, value.value or "", None) for name, value in sorted((spec.env or {}).items())),
        console=spec.run.console or "job",
    )
    _check_programs(spec.run, normal, report)
    _check_line(spec, run, normal, mounts, like, report)
    return run


def _lacks(spec: JobSpec) -> Iterator[Refusal]:
    """Yield the members that need what OSv does not have."""
    for name in ("prologue", "epilogue"):
        if spec.hooks is not None and getattr(spec.hooks, name) is not None:
            reason = "OSv has no shell and no second process, so it runs no hooks"
            yield ("hooks", name), reason, "remove it, or add a command before or after the job's own"
    if spec.packages:
        yield ("packages",), "OSv has no packages to install: an image has all that it runs", "remove `packages`"
    if spec.disks:
        yield ("disks",), "a further disk has a file system of Linux, which OSv does not mount", "remove `disks`"
    for name, value in sorted((spec.env or {}).items()):
        if value.from_file is not None:
            reason = "an OSv guest's environment is on its command line, and root reads no file of a user's for it"
            yield ("env", name, "from_file"), reason, "write the value here, or put the file into the image"
        if name in KERNELS_OWN:
            yield ("env", name), f"OSv's kernel sets `{name}` itself", "give the variable another name"


def _mounts(spec: JobSpec, mounts: tuple[Mount, ...], image: CatalogueImage, like: OsvImage) -> Iterator[Refusal]:
    for index, (asked, mount) in enumerate(zip(spec.mounts or (), mounts, strict=False)):
        place: Path = ("mounts", index, "mode" if asked.mode else "name")
        if mount.kind == "nfs":
            reason = f"`{mount.name}` is the site's own NFS, where an OSv guest could claim to be any user"
            yield place, reason, "remove it, or ask for one that the node shares by virtiofs"
        elif mount.kind == "9p":
            yield place, f"`{mount.name}` is shared by 9p, which OSv does not mount", "remove it"
        elif not mount.read_only:
            if "nfs" not in (image.capabilities or ()):
                reason = f"OSv writes to `{mount.name}` by NFS alone, which the image `{image.name}` does not have"
                hint = f"write `{{name: {mount.name}, mode: ro}}`, or take an image whose `capabilities` have nfs"
                yield place, reason, hint
        elif like.options == "fork-2018":
            yield place, f"this image's kernel mounts no virtiofs, so it cannot mount `{mount.name}`", "remove it"
        elif like.rootfs is None:
            looks = f"the kernel of `{image.name}` looks for its root file system"
            reason = f"{looks}, and could take `{mount.name}` for it"
            yield place, reason, "remove it; an image can have mounts when its catalogue entry names its `rootfs`"


def _check_network(spec: JobSpec, normal: NormalForm, site: Site, report: Report) -> None:
    """Behind a NAT it has what any program on the node has; on a bridge it is a machine of its own among the site's."""
    name = said(said(spec.network).name)
    fine = sorted(one for one, network in site.networks.items() if network.kind != "bridge" or network.osv)
    if name not in site.networks or name in fine:
        return
    message = f"`{name}` leads to the site's servers, where an OSv guest could claim to be any user"
    hint = f"write `network: {fine[0]}`" if fine else f"the site `{site.name}` has no network for OSv guests"
    report.add(Code.OSV_NETWORK, message, said_at(normal, ("network", "name"), ("image",)), help=hint)


def _check_exports(spec: JobSpec, normal: NormalForm, mounts: tuple[Mount, ...], site: Site, report: Report) -> None:
    """The node serves what is written to on a network that the job alone has."""
    name = said(said(spec.network).name)
    own = sorted(one for one, network in site.networks.items() if network.kind in ("isolated", "nat"))
    if name not in site.networks or name in own:
        return
    for index, mount in enumerate(mounts):
        if mount.kind == "virtiofs" and not mount.read_only:
            message = f"a node serves `{mount.name}` to OSv guests on a network of the job's own, and `{name}` is not"
            other = f"write `network: {own[0]}`, or " if own else "write "
            hint = f"{other}`{{name: {mount.name}, mode: ro}}`"
            report.add(Code.OSV_EXPORT, message, normal.at(("mounts", index, "name")), help=hint)


def _commands(run: Run, normal: NormalForm, image: str, osv: Osv, report: Report) -> tuple[tuple[str, ...], ...]:
    if run.config_set is None:
        return tuple(command for _, command in _said(run))
    if run.config_set not in (osv.config_sets or ()):
        names = osv.config_sets or ()
        meant = near_miss(run.config_set, names)
        hint = f"write `{meant}`" if meant else f"its catalogue entry names {', '.join(names) or 'none'}"
        message = f"the image `{image}` has no config set `{run.config_set}`"
        report.add(Code.CONFIG_SET, message, normal.at(("run", "config_set")), help=hint)
    return (("runscript", f"/run/{run.config_set}"),)  # as Capstan does: capstan, runtime/runtime.go


def _said(run: Run) -> list[tuple[Path, tuple[str, ...]]]:
    """Return the commands that the job writes out, each with its place."""
    if run.command is not None:
        return [(("run", "command"), run.command)]
    return [(("run", "commands", index), command) for index, command in enumerate(run.commands or ())]


def _check_programs(run: Run, normal: NormalForm, report: Report) -> None:
    """Warn of programs that cannot do their work there, and of commands that may never get their turn."""
    hint = "run the program itself; it may have threads, and each VM of the job runs it"
    for place, command in _said(run):
        name = PurePosixPath(command[0]).name.removesuffix(".so")
        if name in _STARTERS | _SWITCHERS:
            lacks = "fork(), to start others" if name in _STARTERS else "setuid(), to become another user"
            report.add(Code.OSV_PROGRAM, f"`{name}` needs {lacks}; OSv has none", normal.at((*place, 0)), help=hint)
    if len(run.commands or ()) > 1:
        message = "a command that ends by exit() powers the VM off: those after it never run"
        hint = "end all but the last by returning from main(); statically linked programs always call exit()"
        report.add(Code.OSV_SEVERAL, message, normal.at(("run", "commands", 1)), help=hint)


def _check_line(
    spec: JobSpec, run: OsvRun, normal: NormalForm, mounts: tuple[Mount, ...], image: OsvImage, report: Report
) -> None:
    """What no command line can hold is told where it is said; its length is everybody's."""
    words: list[tuple[Path, str]] = [
        ((*place, index), word) for place, command in _said(spec.run) for index, word in enumerate(command)
    ]
    words += [(("env", one.name), one.value or "") for one in run.env]
    refused = [
        (place, why) for place, word in words
        if (why := unsayable(word, image.boot, path=place[0] == "run" and place[-1] == 0)) is not None
    ]  # fmt: skip
    for place, (message, hint) in refused:
        report.add(Code.OSV_COMMAND_LINE, message, normal.at(place), help=hint)
    if not refused:
        try:
            options = (*LONGEST_NETWORK, *mount_options(mount.target for mount in mounts if mount.read_only))
            served = ((LONGEST_TAG, mount.target) for mount in mounts if not mount.read_only)
            commands = (*mount_commands(served, LONGEST_ADDRESS, image), *run.commands)
            command_line(replace(run, commands=commands), image, options)
        except Fault as fault:
            report.add(Code.OSV_COMMAND_LINE, fault.message, normal.at(("run",)), help=fault.help)
