"""`vtorque run` with two real guests: each on its own core, each proven, and real launchers of MPI that find both."""

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.boots import Done, environment, finished, left_behind, started, thread_cpus, virsh, wait_for
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, ask_inside, run_as, until_not_silent, user, work

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]
LIMIT_S = 300
"""Two guests boot at once, each on one core, emulated."""

PROGRAM = """\
import ctypes, os, sys
from pathlib import Path

mpi = ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
if "mpich" in sys.argv[1]:
    world, integer, add = map(ctypes.c_int, (0x44000000, 0x4C000405, 0x58000003))
else:
    names = ("ompi_mpi_comm_world", "ompi_mpi_int", "ompi_mpi_op_sum")
    world, integer, add = (ctypes.c_void_p(ctypes.addressof(ctypes.c_byte.in_dll(mpi, name))) for name in names)
rank, size, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
mpi.MPI_Init(None, None)
mpi.MPI_Comm_rank(world, ctypes.byref(rank))
mpi.MPI_Comm_size(world, ctypes.byref(size))
mpi.MPI_Allreduce(ctypes.byref(ctypes.c_int(10 + rank.value)), ctypes.byref(total), 1, integer, add, world)
boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
line = f"{sys.argv[1]} rank={rank.value}/{size.value} sum={total.value} host={os.uname().nodename} boot={boot}\\n"
os.write(1, line.encode())
mpi.MPI_Finalize()
sys.exit(3 if "fail" in sys.argv and rank.value == size.value - 1 else 0)
"""
"""A rank, by its library's binary interface alone: the handles are those of mpi.h, so nothing has to be compiled."""

JOB = """\
apiVersion: vtorque/v1
name: test
image: debian-12-mpi
mounts: [home]
vms_per_node: 2
vcpus: 1
memory: 768MiB
pinning: auto
timeouts: {{boot: {limit_s}s}}
run: |
  cd {work}
  mapfile -t hosts <"$PBS_NODEFILE"
  echo "hosts=${{hosts[*]}} own=$(hostname)"
  cat /run/vtorque/boot
  exec 3<>/dev/tcp/10.213.0.3/22 && head -c 4 <&3; echo
  ssh -o BatchMode=yes "${{hosts[1]}}" 'hostname; cat /run/vtorque/boot' | sed 's/^/other-/'
  ssh -o BatchMode=yes -o HostKeyAlias="${{hosts[0]}}" "${{hosts[1]}}" true; echo "under a wrong name: $?"
  touch ready
  while [ ! -e go ]; do sleep 0.2; done
  mpirun python3 rank.py libmpi.so.40 || exit 100
  mpirun.mpich python3 rank.py libmpich.so.12 || exit 101
  mpirun.mpich python3 rank.py libmpich.so.12 fail; echo "mpich=$?"
  mpirun python3 rank.py libmpi.so.40 fail
"""


def tokens(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def looked_at() -> dict[str, object]:
    """What libvirt, the kernel and the spool say of both guests while the job runs."""
    domains = sorted(name for name in virsh("list", "--name").split() if name.startswith("vt-local-"))
    (spool,) = [path for path in Path("/var/lib/vtorque/jobs").iterdir() if path.is_dir()]
    status = [sys.executable, "-m", "vtorque_runtime", "status"]
    return {
        "tokens": [tokens(ask_inside(domain, "/run/vtorque/boot")) for domain in domains],
        "uuids": [virsh("domuuid", domain) for domain in domains],
        "pins": [virsh("vcpupin", domain).split()[-1] for domain in domains],
        "threads": [set(thread_cpus(domain).values()) for domain in domains],
        "networks": [name for name in virsh("net-list", "--name").split() if name.startswith("vt-")],
        "copies": {path.name: path.stat().st_uid for path in spool.glob("console*.log")},
        "status": subprocess.check_output(status, env=environment(PYTHONPATH=PYTHONPATH), text=True),
    }


def test_two_guests_on_their_own_cores_whose_ranks_talk(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count
) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two guests need two cores")
    (work / "rank.py").write_text(PROGRAM)
    job = work / "job.vjob.yaml"
    job.write_text(JOB.format(limit_s=LIMIT_S, work=work))
    seen: dict[str, object] = {}
    second: list[Done] = []

    def attempt() -> Done:
        for name in ("ready", "go"):
            (work / name).unlink(missing_ok=True)
        with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            if wait_for(work / "ready", process, LIMIT_S + 60):
                seen.update(looked_at())
                with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as other:
                    second[:] = [finished(other)]
                (work / "go").touch()
            return finished(process, LIMIT_S + 300)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 3, done.err  # that of the last rank of the last line
    check_guests(seen, done, user)
    assert second[0].code == 1
    assert "error[VT04" in second[0].err
    assert re.search(r"vtorque: job local-\w+ holds the CPUs 0-1", second[0].err)
    check_ranks(done.out)
    assert left_behind() == []


def check_guests(seen: dict[str, object], done: Done, user: pwd.struct_passwd) -> None:
    (first, other) = seen["tokens"]  # type: ignore[misc] # a list of two
    out = done.out.splitlines()
    assert f"token={first['token']}" in out
    assert [first["product_uuid"], other["product_uuid"]] == seen["uuids"]
    assert not [name for name in ("token", "boot_id", "product_uuid") if first[name] == other[name]]
    assert "SSH-" in out, "the guests of a job reach each other"
    assert f"other-token={other['token']}" in out, "the job passes from guest to guest by name, and is asked nothing"
    assert len(seen["networks"]) == 1  # type: ignore[arg-type] # a list
    assert len(set(seen["pins"])) == 2  # type: ignore[call-overload] # a list
    assert not set.intersection(*seen["threads"]), "no thread of one guest may run where the other's do"  # type: ignore[misc]
    assert seen["copies"] == dict.fromkeys(("console.log", "console1.log"), user.pw_uid)
    assert re.search(r"^local-\w+ .* run .* 0-1 ", str(seen["status"]), re.MULTILINE)
    for name in ("0: firmware", "1: firmware", "0: ready", "1: ready"):
        assert f"-{name}" in done.err


def check_ranks(out: str) -> None:
    """Each launcher ran twice, on both guests; an exit code comes back."""
    lines = out.splitlines()
    hosts = re.fullmatch(r"hosts=(\S+-0) (\S+-1) own=\1", lines[0])
    assert hosts, out
    assert f"other-{hosts[2]}" in lines
    assert "under a wrong name: 255" in lines, "a guest proves its name"
    ranks = re.findall(r"^(\S+) rank=(\d)/2 sum=(\d+) host=(\S+) boot=(\S+)$", out, re.MULTILINE)
    libraries = ("libmpi.so.40", "libmpich.so.12")
    expected = [(library, str(rank), "21", hosts[rank + 1]) for library in libraries for rank in (0, 1)]
    assert sorted(rank[:4] for rank in ranks) == sorted(expected * 2)
    assert {(host, boot) for *_, host, boot in ranks} == {
        (hosts[1], tokens(out)["boot_id"]),
        (hosts[2], tokens(out)["other-boot_id"]),
    }
    assert "mpich=3" in lines
