"""One line of YAML for each field of the job language: a value in its place, with what must be said beside it."""

import json
import re
from typing import Any

from vtorque_spec.document import Path
from vtorque_spec.spec.fields import ANY, Field, job_field
from vtorque_spec.spec.machine import OWN_MEMBERS

_TEXTS: dict[str, Any] = {
    "apiVersion": "vtorque/v1",
    "name": "cavity",
    "batch.queue": "batch",
    "batch.account": "my-project",
    "batch.array": "0-9%4",
    "batch.depends.*.*": "123",
    "batch.output": "cavity.out",
    "batch.features.*": "ib",
    "batch.mail.to.*": "me@example.org",
    "batch.join": True,
    "image.name": "debian-12",
    "image.sha256": "0" * 64,
    "image.revision": "2027-01",
    "image.disk": "/home/alice/own/root.qcow2",
    "image.kernel": "/home/alice/own/vmlinuz",
    "image.initrd": "/home/alice/own/initrd.img",
    "image.cmdline": "console=ttyS0 root=LABEL=root rw",
    "vcpus": 14,
    "pinning.mode": "auto",
    "pinning.file": "map.yaml",
    "hugepages": "1GiB",
    "disks.*.name": "scratch",
    "disks.*.mount": "/data",
    "disks.*.persist": "results",
    "mounts.*.name": "home",
    "mounts.*.target": "/data",
    "network.name": "default",
    "devices.*.name": "gpu",
    "packages.*": "libmetis5",
    "hooks.prologue.path": "./stage-in.sh",
    "hooks.prologue.inline": "cp $HOME/input.dat .",
    "hooks.epilogue.path": "./stage-out.sh",
    "hooks.epilogue.inline": "cp *.log $HOME",
    "env.*.value": "14",
    "env.*.from_file": "secrets/token",
    "run.text": "hostname",
    "run.script": "./solve.sh",
    "run.args.*": "-v",
    "run.command.*": "/solver.so",
    "run.commands.*.*": "/solver.so",
    "run.config_set": "default",
}
_BESIDE: dict[str, tuple[str, ...]] = {
    **{f"image.{member}": OWN_MEMBERS for member in OWN_MEMBERS},
    "run.args": ("script",),
    "run.console": ("command",),
    "mounts.*.mode": ("name",),
    "mounts.*.target": ("name",),
}
"""Members that a field needs beside it and that the language does not require everywhere."""

_OWN_NAME = "mine"
"""The name of one's own image, which is not one of the catalogue's."""

_NAMES = {"env": "NAME", "depends": "afterok"}
"""A name in each free mapping."""


def example(path: Path, value: Any = None) -> str:
    """Return a line that says the field at `path`, for instance with this value: ``batch: {walltime: "02:00:00"}``.

    For the member `*` of `env` the name is NAME.
    """
    tree: Any = _value(path) if value is None else value
    for end in range(len(path), 1, -1):
        part, above = path[end - 1], job_field(path[: end - 1])
        if above is not None and above.kind == "list":
            tree = [tree]
        elif above is not None and above.kind == "names":
            tree = {_NAMES[str(path[end - 2])]: tree}
        else:
            tree = {**_beside(path[:end], above), part: tree}
    return f"{path[0]}: {flow(tree)}"


def _beside(path: Path, above: Field | None) -> dict[str, Any]:
    members = above.members() if above else {}
    needed = _BESIDE.get(_key(path), ()) + tuple(name for name, member in members.items() if member.required)
    found = {name: _value((*path[:-1], name)) for name in dict.fromkeys(needed) if name != path[-1]}
    return {**found, "name": _OWN_NAME} if path[:-1] == ("image",) and path[-1] in OWN_MEMBERS else found


def short_example(field: Field) -> str | None:
    """Return the line in the short form of a mapping, `mounts: [home]`; None where it has none."""
    short = getattr(field.model, "shorthand", None)
    return None if short is None else example(field.path, _value((*field.path, short)))


def _value(path: Path) -> Any:
    if _key(path) in _TEXTS:
        return _TEXTS[_key(path)]
    field = job_field(path)
    if field is None:
        raise KeyError(_key(path))
    each = field.each()
    if each is not None:
        return [_value(each.path)] if field.kind == "list" else {_NAMES[str(path[-1])]: _value(each.path)}
    members = field.members()
    if members:
        said = [name for name, member in members.items() if member.required]
        short = getattr(field.model, "shorthand", next(iter(members)))
        return {name: _value((*path, name)) for name in said or [short]}
    if field.words:
        return "none" if "none" in field.words else field.words[0]
    kinds: dict[str, Any] = {"size": "24GiB", "duration": "00:30:00", "boolean": False, "integer": field.minimum or 1}
    return kinds[field.kind]


def _key(path: Path) -> str:
    """Lists' items and free names are written with a star."""
    return ".".join(
        ANY if isinstance(part, int) or (index and path[index - 1] in _NAMES) else str(part)
        for index, part in enumerate(path)
    )


_PLAIN = re.compile(r"(?!(true|false|null|yes|no|on|off|y|n)$)[A-Za-z./$][A-Za-z0-9_./$@+-]*", re.IGNORECASE)


def flow(value: Any) -> str:
    """Return a value as YAML in one line, with quotes where it needs them."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{flow(str(name))}: {flow(member)}' for name, member in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, str) and (_PLAIN.fullmatch(value) or re.fullmatch(r"[1-9][0-9]*[KMGT]i?B", value)):
        return value
    return json.dumps(value, ensure_ascii=False)
