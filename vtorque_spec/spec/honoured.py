"""Which members of the job language this version acts on, as data. Everything else is refused with VT0112.

Keys are paths of the normal form, `*` for any item or variable. The value is ANY, or the tuple of the values that are
honoured: a member that may only be said to be off stands here with just that value.
"""

from collections.abc import Iterator
from typing import Any

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Path
from vtorque_spec.spec.parse import NormalForm, label, paths_of, shorten, value_at

ANY: tuple[object, ...] = ()

HONOURED: dict[str, tuple[object, ...]] = {
    "apiVersion": ANY,
    "name": ANY,
    "batch.nodes": ANY,
    "batch.walltime": ANY,
    "batch.queue": ANY,
    "batch.account": ANY,
    "batch.exclusive": ANY,
    "batch.features": ANY,
    "batch.array": ANY,
    "batch.depends": ANY,
    "batch.mail.to": ANY,
    "batch.mail.events": ANY,
    "batch.output": ANY,
    "batch.join": ANY,
    "image.name": ANY,
    "image.sha256": ANY,
    "image.revision": ANY,
    "image.disk": ANY,
    "image.kernel": ANY,
    "image.initrd": ANY,
    "image.cmdline": ANY,
    "guest": ANY,
    "vcpus": ANY,
    "memory": ANY,
    "vms_per_node": ANY,
    "pinning": ANY,
    "iocm": ANY,
    "hugepages": ANY,
    "root_disk.backing": ANY,
    "root_disk.size": ANY,
    "disks.*.name": ANY,
    "disks.*.size": ANY,
    "disks.*.mount": ANY,
    "disks.*.attach": ANY,
    "mounts.*.name": ANY,
    "mounts.*.target": ANY,
    "mounts.*.mode": ANY,
    "network.name": ANY,
    "network.rdma": ("none",),
    "packages": ANY,
    "hooks.prologue.path": ANY,
    "hooks.prologue.inline": ANY,
    "hooks.epilogue.path": ANY,
    "hooks.epilogue.inline": ANY,
    "env.*.value": ANY,
    "env.*.from_file": ANY,
    "run.text": ANY,
    "run.script": ANY,
    "run.args": ANY,
    "run.command": ANY,
    "run.commands": ANY,
    "run.config_set": ANY,
    "run.console": ANY,
    "timeouts.boot": ANY,
    "timeouts.grace": ANY,
    "allow_degraded": ANY,
}

_PARTLY = {name[:end] for name in HONOURED for end, character in enumerate(name) if character == "."}
"""Members of which some part is honoured."""


def check_honoured(normal: NormalForm, report: Report) -> None:
    """Add a finding for each member that was said and is not honoured; the outermost one where a whole part is not."""
    for path in _refused(normal.data):
        value = value_at(normal.data, path)
        honoured = HONOURED.get(".".join(_key(path)), ANY)
        if honoured:
            allowed = " or ".join(shorten(choice) for choice in honoured)
            message, hint = f"`{label(path)}` cannot be {shorten(value)} yet", f"this version honours {allowed}"
        else:
            message, hint = f"`{label(path)}` is not honoured yet", "remove it: this version would not act on it"
        report.add(Code.NOT_YET, message, normal.at(path), help=hint)


def _refused(data: dict[str, Any]) -> Iterator[Path]:
    skip: Path | None = None
    for path in paths_of(data):
        if not path or (skip and path[: len(skip)] == skip):
            continue
        if not _fine(_key(path), value_at(data, path)):
            skip = path
            yield path


def _fine(key: tuple[str, ...], value: Any) -> bool:
    for end in range(1, len(key) + 1):
        allowed = HONOURED.get(".".join(key[:end]))
        if allowed is not None:
            return allowed == ANY or value in allowed
    if value in ([], {}):  # nothing was asked for
        return True
    return ".".join(key) in _PARTLY


def _key(path: Path) -> tuple[str, ...]:
    """`env.NAME` and list items are written with a star."""
    starred = ["*" if isinstance(part, int) else part for part in path]
    if starred[0] == "env" and len(starred) > 1:
        starred[1] = "*"
    return tuple(starred)
