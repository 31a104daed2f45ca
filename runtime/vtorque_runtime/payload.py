"""The user's programs as they go into the guest: a tar archive for /run/vtorque/job, made on the host as the user.

`start PART` runs a part in a process group of its own with the job's environment, kills what the part leaves running,
and keeps its exit code in PART.status; `signal NAME PART` signals that group. The guest needs bash 5 and tar.
"""

import io
import json
import re
import shlex
import tarfile
from collections.abc import Mapping
from pathlib import Path

from vtorque_runtime.confine import call_as
from vtorque_runtime.handover import Handover
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Login, Script, UserPart, Variable

DIRECTORY = "/run/vtorque/job"
UPLOAD = f"exec tar -x -f - -C {DIRECTORY}"
"""Command that unpacks the archive in the guest."""

VARIABLE_LIMIT_BYTES = 100_000
"""Linux takes at most 131,072 bytes for one variable."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_KEPT = re.compile(
    r"PBS_(O_(WORKDIR|HOST|QUEUE|HOME|LOGNAME|LANG|SHELL|MAIL|TZ)|QUEUE|SERVER|ACCOUNT|WALLTIME|ARRAY_ID|TASKNUM|VERSION)"
)
_ARRAY_INDEX = ("PBS_ARRAY_INDEX", "PBS_ARRAYID", "SLURM_ARRAY_TASK_ID")

# `wait` ends for a job that is stopped too; bash 5.2's `wait -f`, which does not, at times never ends.
_START = """\
cd "${0%/*}" || exit 78
exec 3>&2 2>/dev/null
set -m
bash "$1.sh" </dev/null 2>&3 3>&- &
echo "$!" >"$1.pid"
while wait "$!"; code=$?; kill -s 0 "$!"; do sleep 0.2; done
kill -s KILL -- "-$!"
echo "$code" >"$1.status"
exit "$code"
"""

_SIGNAL = """\
cd "${0%/*}" || exit 78
for _ in {1..50}; do [ -s "$2.pid" ] && break; sleep 0.1; done
kill -s "$1" -- "-$(cat "$2.pid")"
"""


def archive(user: UserPart, job: Handover, batch: Mapping[str, str]) -> bytes:
    """Return the archive; files of `env` are read as the job's owner. Raises Fault VT0915 for what can't be read.

    `batch` is the environment in which the batch system started the job's body.
    """
    values = {**batch_variables(job, batch), **_values(user.env, job.login)}
    files = {"start": _START, "signal": _SIGNAL, "env": environment(values), "nodefile": node_file(job)}
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


def node_file(job: Handover) -> str:
    """Return the job's VMs as a batch system lists nodes: in rank order, a line for each slot, and a vCPU is a slot."""
    return "".join(f"{vm.hostname}\n" * job.vcpus for vm in job.vms)


def batch_variables(job: Handover, batch: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a batch system would set for the job, if the guests were its nodes.

    Those of `batch` in _KEPT are passed on as they are (pbs_job_attributes(7B), sbatch(1)).
    """
    node_file = f"{DIRECTORY}/nodefile"
    kept = {name: value for name, value in batch.items() if _KEPT.fullmatch(name)}
    index = next((batch[name] for name in _ARRAY_INDEX if batch.get(name)), None)
    return kept | ({} if index is None else dict.fromkeys(("PBS_ARRAYID", "PBS_ARRAY_INDEX"), index)) | {
        "DISTRO": "SLG",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBID": job.job_id,
        "PBS_JOBNAME": job.job_name,
        "PBS_NODEFILE": node_file,
        "PBS_NODENUM": "0",
        "PBS_NP": str(len(job.vms) * job.vcpus),
        "PBS_NUM_NODES": str(len(job.vms)),
        "PBS_NUM_PPN": str(job.vcpus),
    } | launcher_variables(node_file)  # fmt: skip


def launcher_variables(node_file: str) -> dict[str, str]:
    """Return what makes stock launchers of MPI start one rank for each line of `node_file`, by ssh.

    To one that was built with PBS's library the job looks like PBS's, whose daemon is not in the guests: so it is told
    not to ask that. Open MPI 4: orte/runtime/orte_mca_params.c, orte/mca/plm/tm, and orte/mca/ras/tm, which would look
    for a file named by the job's id. Open MPI 5: PRRTE's src/runtime/prte_mca_params.c, src/mca/plm/tm; its
    src/mca/ras/pbs reads PBS_NODEFILE. MPICH: ui/mpich/utils.c, tools/bootstrap/src/bsci_init.c.in in src/pm/hydra.
    Intel MPI: "Hydra Environment Variables" in its Developer Reference; with no bootstrap it asks Torque.
    Tried with Open MPI 4.1.4 and 5.0.11, MPICH 4.0.2 and Intel MPI 2021.18.
    """
    return {
        "OMPI_MCA_orte_default_hostfile": node_file,
        "OMPI_MCA_plm": "rsh",
        "OMPI_MCA_ras": "^tm",
        "PRTE_MCA_prte_default_hostfile": node_file,
        "PRTE_MCA_plm": "ssh",
        "HYDRA_HOST_FILE": node_file,
        "HYDRA_LAUNCHER": "ssh",
        "I_MPI_HYDRA_HOST_FILE": node_file,
        "I_MPI_HYDRA_BOOTSTRAP": "ssh",
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
