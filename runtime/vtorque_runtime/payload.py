"""The user's programs as they go into the guest: a tar archive for /run/vtorque/job, made on the host as the user.

`start PART` runs a part in a process group of its own with the job's environment, kills what the part leaves running,
and keeps its exit code in PART.status; `signal NAME PART` signals that group. The guest needs bash 5 and tar.
"""

import io
import json
import re
import shlex
import tarfile
from pathlib import Path

from vtorque_runtime.confine import call_as
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Login, NodePlan, Script, UserPart, Variable

DIRECTORY = "/run/vtorque/job"
UPLOAD = f"exec tar -x -f - -C {DIRECTORY}"
"""Command that unpacks the archive in the guest."""

VARIABLE_LIMIT_BYTES = 100_000
"""Linux takes at most 131,072 bytes for one variable."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_START = """\
cd "${0%/*}" || exit 78
exec 3>&2 2>/dev/null
set -m
bash "$1.sh" </dev/null 2>&3 3>&- &
echo "$!" >"$1.pid"
wait -f "$!"
code=$?
kill -s KILL -- "-$!"
echo "$code" >"$1.status"
exit "$code"
"""

_SIGNAL = """\
cd "${0%/*}" || exit 78
for _ in {1..50}; do [ -s "$2.pid" ] && break; sleep 0.1; done
kill -s "$1" -- "-$(cat "$2.pid")"
"""


def archive(user: UserPart, plan: NodePlan) -> bytes:
    """Return the archive; files of `env` are read as the job's owner. Raises Fault VT0915 for what can't be read."""
    values = {**batch_variables(plan), **_values(user.env, plan.login)}
    files = {"start": _START, "signal": _SIGNAL, "env": environment(values)}
    for part, script in (("prologue", user.prologue), ("run", user.run), ("epilogue", user.epilogue)):
        if script is not None:
            files |= {part: script.text, f"{part}.sh": _wrapper(part, script)}
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in files.items():
            content = _bytes(text, f"the {name}")
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o700, len(content)
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def batch_variables(plan: NodePlan) -> dict[str, str]:
    """Return the variables that a batch system would set (pbs_job_attributes(7B)); `vcpus` count as its slots."""
    vcpus = str(plan.guests[0].machine.vcpus)
    return {
        "DISTRO": "SLG",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBID": plan.job_id,
        "PBS_JOBNAME": plan.job_name,
        "PBS_NP": vcpus,
        "PBS_NUM_NODES": "1",
        "PBS_NUM_PPN": vcpus,
    }


def environment(values: dict[str, str]) -> str:
    """Return text that exports exactly `values` when bash reads it. Raises Fault VT0915 for what no variable holds."""
    for name, value in values.items():
        if not _NAME.fullmatch(name) or "\0" in value or len(value.encode("utf-8", "replace")) > VARIABLE_LIMIT_BYTES:
            raise Fault("VT0915", f"{name!r} can't be an environment variable, or its value has a NUL or is too long")
    return "".join(f"export {name}={shlex.quote(value)} || exit 78\n" for name, value in values.items())


def _wrapper(part: str, script: Script) -> str:
    """A text that starts with #! is a program; any other is bash's."""
    program = [f"{DIRECTORY}/{part}", *script.args]
    if not script.text.startswith("#!"):
        program.insert(0, "bash")
    return f"cd ~ || exit 78\n. {DIRECTORY}/env || exit 78\nexec {shlex.join(program)}\n"


def _values(variables: tuple[Variable, ...], login: Login) -> dict[str, str]:
    paths = sorted({variable.from_file for variable in variables if variable.from_file is not None})
    texts: dict[str, str] = {}
    if paths:
        gids = [group.gid for group in login.groups]
        texts = json.loads(call_as(login.uid, gids[0], gids, _read, paths))
    return {one.name: one.value or "" if one.from_file is None else texts[one.from_file] for one in variables}


def _read(paths: list[str]) -> bytes:
    """In the confined child: the texts by path, without the newline that ends a file."""
    texts = {}
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                texts[path] = file.read(VARIABLE_LIMIT_BYTES + 1).decode("utf-8").removesuffix("\n")
        except (OSError, ValueError) as error:
            raise Fault("VT0915", f"`env` reads a variable from {path}, which failed: {error}") from None
    return json.dumps(texts).encode("ascii")


def _bytes(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Fault("VT0915", f"{what} is not text that UTF-8 can write") from None
