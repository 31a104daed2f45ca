"""The batch system's hooks on this node: that ours are there, are taken by it, and have the time that they need.

What each batch system wants is in docs/install-torque.md, install-openpbs.md and install-slurm.md.
"""

import glob
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from vtorque_runtime import earlier_hooks
from vtorque_runtime.batch import command
from vtorque_runtime.doctor.node import Node, Told, error, warning
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeSite
from vtorque_spec.plan.answer import ToldFinding

_OURS = re.compile(rb"vtorque[-_]runtime")
_MOM_PRIV = ("/var/spool/torque/mom_priv", "/opt/torque/spool/mom_priv", "/var/lib/torque/mom_priv")
_TORQUE = ("prologue", "prologue.parallel", "epilogue", "epilogue.parallel")
_TORQUE_OTHERS = ("prologue.user", "epilogue.user", "epilogue.precancel")
_TORQUE_DEFAULT_S = 300
_LEAST_S = 60
_SLURM_UNSET_S = 65534
_PBS_EVENTS = frozenset({"execjob_begin", "execjob_abort", "execjob_end", "exechost_startup", "exechost_periodic"})
_READ_BYTES = 65536
_CRON = ("etc/crontab", "etc/cron.d/*", "var/spool/cron/crontabs/root", "var/spool/cron/root")
_TIMER = "etc/systemd/system/timers.target.wants/vtorque-reap.timer"


def hooks(node: Node, site: NodeSite) -> Told:
    """The hooks of the site's batch system are ours, and may run long enough."""
    looks = {"torque": _torque, "openpbs": _openpbs, "slurm": _slurm}
    yield from looks[site.batch](node, site)
    names = {"torque": _TORQUE, "slurm": ("prologue", "epilogue"), "openpbs": ()}[site.batch]
    for path in (node.path(f"{earlier_hooks.DIRECTORY}/{name}") for name in names):
        if os.access(path, os.X_OK) and (fault := earlier_hooks.refused(path)) is not None:
            yield error(fault.code, fault.message, fault.help or "")


def reap(node: Node, site: NodeSite) -> Told:
    """Something runs `vtorque-runtime reap` at boot and again and again."""
    if site.batch == "openpbs":
        yield "by the hook's exechost_startup and exechost_periodic"
    elif os.path.lexists(node.root / _TIMER):
        yield "by vtorque-reap.timer"
    elif lines := [path for path in _crontabs(node.root) if b"vtorque-runtime reap" in path.read_bytes()]:
        yield f"by {lines[0]}"
    else:
        message = "nothing starts `vtorque-runtime reap`: what a job leaves whose epilogue never comes stays here"
        fix = "systemctl enable --now vtorque-reap.timer (docs/node-admin.md has it, and a cron line)"
        yield warning("VT0948", message, fix)


def _crontabs(root: Path) -> Iterator[Path]:
    for pattern in _CRON:
        yield from (path for path in sorted(root.glob(pattern)) if path.is_file())


def _torque(node: Node, site: NodeSite) -> Told:
    home = next((path for name in _MOM_PRIV if (path := node.path(name)).is_dir()), None)
    if home is None:
        fix = f"install it; if it lies elsewhere: ln -s ELSEWHERE/mom_priv {_MOM_PRIV[0]}"
        yield error("VT0946", f"there is no mom here: neither {' nor '.join(_MOM_PRIV)} is there", fix)
        return
    for name in _TORQUE:
        yield from _file(home / name, f"install -o root -g root -m 0500 runtime/hooks/torque {home / name}")
    for name in _TORQUE_OTHERS:
        if os.path.lexists(home / name):
            message = f"{home / name} is there: `qsub -W jobtype=` makes the mom run it in the place of ours"
            yield error("VT0946", message, f"rm {home / name}")
    limit = _prologalarm(home / "config")
    yield from _limit(limit, _LEAST_S, "$prologalarm", f"write `$prologalarm 300` into {home / 'config'}", site)
    yield f"{home}, $prologalarm {limit} s"


def _prologalarm(path: Path) -> int:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    found = re.findall(r"^\s*\$prologalarm\s+(\d{1,6})\s*$", text, re.MULTILINE)
    return int(found[-1]) if found else _TORQUE_DEFAULT_S


def _slurm(node: Node, site: NodeSite) -> Told:
    said = _slurm_config(node)
    for key in ("Prolog", "Epilog"):
        values = [value for name, value in said if re.fullmatch(rf"{key}(\[\d+\])?", name)]
        files = [path for value in values for path in _paths(node, value)]
        ours = [path for path in files if _is_ours(path)]
        fix = f"in slurm.conf: {key}=/opt/vtorque/slurm-hook, then scontrol reconfigure (docs/install-slurm.md)"
        if not ours:
            found = ", ".join(map(str, files)) or "none"
            yield error("VT0946", f"Slurm's {key} is not ours: {found}", fix)
        for path in ours:
            yield from _file(path, fix)
    flags = next((value for name, value in said if name == "PrologFlags"), "")
    missing = [flag for flag in ("Alloc", "DeferBatch") if flag.lower() not in flags.lower().split(",")]
    if missing:
        message = f"Slurm's PrologFlags lack {' and '.join(missing)}: jobs start before their guests are prepared"
        yield error("VT0946", message, "in slurm.conf: PrologFlags=Alloc,DeferBatch, then restart slurmctld and slurmd")
    limit = next((_seconds(value) for name, value in said if name == "PrologEpilogTimeout"), None)
    if limit is not None:
        yield from _limit(limit, _LEAST_S, "PrologEpilogTimeout", "in slurm.conf: PrologEpilogTimeout=300", site)
    yield f"PrologFlags {flags}, PrologEpilogTimeout {'none' if limit is None else f'{limit} s'}"


def _slurm_config(node: Node) -> list[tuple[str, str]]:
    """The lines `KEY = VALUE` of what slurmctld has read. Raises Fault VT0930."""
    conf = {name: node.environment[name] for name in ("SLURM_CONF",) if name in node.environment}
    ended = command.run("scontrol", "show", "config", environment=conf)
    if ended.code:
        raise Fault("VT0930", "slurmctld does not answer", help="see: scontrol ping", detail=ended.err)
    lines = (line.partition("=") for line in ended.out.decode("utf-8", "replace").splitlines() if "=" in line)
    return [(key.strip(), value.strip()) for key, _, value in lines]


def _paths(node: Node, value: str) -> list[Path]:
    """A hook's value is a file, a pattern, or nothing."""
    return [Path(path) for path in sorted(glob.glob(str(node.path(value))))] if value.startswith("/") else []


def _seconds(value: str) -> int | None:
    number = re.match(r"\d{1,6}", value)
    return None if number is None or int(number[0]) >= _SLURM_UNSET_S else int(number[0])


def _openpbs(node: Node, site: NodeSite) -> Told:
    places = sorted(node.path(_pbs_home(node)).glob("mom_priv/hooks/*.PY"))
    ours = [path for path in places if _is_ours(path)]
    if not ours:
        fix = "at the server: qmgr -c 'import hook vtorque application/x-python default runtime/hooks/openpbs_hook.py'"
        yield error("VT0946", "the hook of OpenPBS has not come to this node", f"{fix} (docs/install-openpbs.md)")
        return
    name = ours[0].stem
    try:
        said = _pbs_hook(name)
    except Fault as fault:
        yield f"{name}; its events and alarm were not looked at: {fault.message}"
        return
    if said.get("enabled", "true").lower() != "true":
        yield error("VT0946", f"the hook {name} is disabled", f"qmgr -c 'set hook {name} enabled = true'")
    missing = sorted(_PBS_EVENTS.difference(re.split(r"[,\s]+", said.get("event", ""))))
    if missing:
        fix = f"qmgr -c \"set hook {name} event = '{','.join(sorted(_PBS_EVENTS))}'\""
        yield error("VT0946", f"the hook {name} is not called for {', '.join(missing)}", fix)
    limit = int(said["alarm"]) if said.get("alarm", "").isdecimal() else 30
    yield from _limit(limit, _LEAST_S, f"the alarm of {name}", f"qmgr -c 'set hook {name} alarm = 60'", site)
    yield f"{name}, alarm {limit} s"


def _pbs_home(node: Node) -> str:
    path = node.path("/etc/pbs.conf")
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    found = re.search(r"^\s*PBS_HOME=(/\S+)", text, re.MULTILINE)
    return found[1] if found else "/var/spool/pbs"


def _pbs_hook(name: str) -> dict[str, str]:
    """The attributes of a hook. Raises Fault VT0930 where qmgr is missing or may not ask."""
    ended = command.run("qmgr", "-c", f"list hook {name}")
    if ended.code:
        raise Fault("VT0930", f"qmgr does not show the hook {name}", detail=ended.err)
    lines = (line.partition("=") for line in ended.out.decode("utf-8", "replace").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in lines}


def _limit(limit_s: int, least_s: int, what: str, fix: str, site: NodeSite) -> Iterator[ToldFinding]:
    if limit_s < least_s:
        yield error("VT0946", f"{what} is {limit_s} s, and an epilogue may need {least_s} s to end guests", fix)
    if site.hook_limit_s not in (None, limit_s):
        message = f"the site says `hook_limit: {site.hook_limit_s}s`, and {what} is {limit_s} s"
        yield error("VT0946", message, f"write `hook_limit: {limit_s}s` into site.yaml, or {fix}")


def _file(path: Path, fix: str) -> Iterator[ToldFinding]:
    """A hook that the batch system will run: ours, and nobody but root can change it."""
    try:
        found = path.stat()
    except OSError as failure:
        yield error("VT0946", f"{path} cannot be used: {(failure.strerror or '').lower()}", fix)
        return
    if not _is_ours(path):
        message = f"{path} is not ours: it does not call vtorque-runtime"
        yield error("VT0946", message, f"keep it: mv {path} /etc/vtorque/hooks/; then: {fix}")
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o022 or mode & 0o500 != 0o500:
        message = f"{path} is uid {found.st_uid}'s with mode {mode:04o}: only root may change it, and root must run it"
        yield error("VT0946", message, f"chown root: {path} && chmod 0755 {path}")


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            text = file.read(_READ_BYTES)
    except OSError:
        return False
    return _OURS.search(text) is not None
