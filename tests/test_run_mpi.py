"""`vtorque run` with real launchers of MPI in two real guests: who finds whom, and what comes back."""

import os
import pwd
import re
from pathlib import Path

import pytest

from tests.boots import Done, finished, left_behind, started
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, run_as, until_not_silent, user, work

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
  ssh -o BatchMode=yes "${{hosts[1]}}" 'echo "other=$(hostname) boot=$(cat /proc/sys/kernel/random/boot_id)"'
  ssh -o BatchMode=yes -o HostKeyAlias="${{hosts[0]}}" "${{hosts[1]}}" true; echo "under a wrong name: $?"
  mpirun python3 rank.py libmpi.so.40 || exit 100
  mpirun.mpich python3 rank.py libmpich.so.12 || exit 101
  mpirun.mpich python3 rank.py libmpich.so.12 fail; echo "mpich=$?"
  mpirun python3 rank.py libmpi.so.40 fail
"""


def test_ranks_on_two_guests_talk(libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two guests need two cores")
    (work / "rank.py").write_text(PROGRAM)
    job = work / "job.vjob.yaml"
    job.write_text(JOB.format(limit_s=LIMIT_S, work=work))

    def attempt() -> Done:
        with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            return finished(process, LIMIT_S + 300)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 3, done.err  # that of the last rank of the last line
    out = done.out.splitlines()
    hosts = re.fullmatch(r"hosts=(\S+-0) (\S+-1) own=\1", out[0])
    assert hosts, out
    other = re.fullmatch(rf"other={hosts[2]} boot=(\S+)", out[1])
    assert other, "the job passes from guest to guest by name, and is asked nothing"
    assert out[2] == "under a wrong name: 255", "a guest proves its name"
    ranks = re.findall(r"^(\S+) rank=(\d)/2 sum=(\d+) host=(\S+) boot=(\S+)$", done.out, re.MULTILINE)
    libraries = ("libmpi.so.40", "libmpich.so.12")
    expected = [(library, str(rank), "21", hosts[rank + 1]) for library in libraries for rank in (0, 1)]
    assert sorted(rank[:4] for rank in ranks) == sorted(expected * 2), "each launcher ran twice, on both guests"
    boots = {host: boot for *_, host, boot in ranks}
    assert boots[hosts[2]] == other[1] != boots[hosts[1]]
    assert "mpich=3" in out
    assert left_behind() == []
