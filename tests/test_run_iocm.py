"""`vtorque run` with a core for I/O and one for the guest: libvirt, the kernel and the guest all say so."""

import json
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
from tests.test_run import PYTHONPATH, Count, run_as, until_not_silent, user, work, write_job

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt]
LIMIT_S = 240


def runtime(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "vtorque_runtime", *words]
    return subprocess.run(command, env=environment(PYTHONPATH=PYTHONPATH), capture_output=True, text=True, check=False)


@pytest.mark.root
def test_a_core_for_io_and_one_for_the_guest(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count
) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("a guest and its I/O need two cores")
    job = write_job(
        work,
        f"""\
        mounts: [home]
        vcpus: 1
        memory: 768MiB
        pinning: auto
        iocm: {{min_cores: 1, max_cores: 1}}
        timeouts: {{boot: {LIMIT_S}s}}
        run: |
          cd {work}
          nproc
          dd if=/dev/zero of=/var/tmp/on-the-root-disk bs=1M count=8 conv=fsync 2>/dev/null && echo written
          touch ready
          while [ ! -e go ]; do sleep 0.2; done
        """,
    )
    seen: dict[str, object] = {}

    def attempt() -> Done:
        for name in ("ready", "go"):
            (work / name).unlink(missing_ok=True)
        with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            if wait_for(work / "ready", process, LIMIT_S + 60):
                (domain,) = [name for name in virsh("list", "--name").split() if name.startswith("vt-local-")]
                seen["vcpu"] = virsh("vcpupin", domain).split()[-1]
                seen["affinity"] = re.search(r"CPU Affinity:\s+(\S+)", virsh("vcpuinfo", domain))
                seen["emulator"] = virsh("emulatorpin", domain).split()[-1]
                seen["iothread"] = virsh("iothreadinfo", domain).split()
                seen["threads"] = thread_cpus(domain)
                seen["shown"] = json.loads(runtime("iocm", "show", "--format", "json").stdout)
                seen["refused"] = runtime("iocm", "set", "2")
                (spool,) = [path for path in Path("/var/lib/vtorque/jobs").iterdir() if path.is_dir()]
                seen["record"] = Path(f"/var/lib/vtorque/log/{spool.name}.jsonl").read_text()
                (work / "go").touch()
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 0, done.err
    assert done.out.split() == ["1", "written"]
    vcpu, io = str(seen["vcpu"]), str(seen["emulator"])
    assert {vcpu, io} == {"0", "1"}, "the guest's core is not the I/O's"
    assert seen["iothread"] == ["1", io]
    assert str(seen["affinity"][1]).index("y") == int(vcpu)  # type: ignore[index] # a match
    found: dict[str, str] = seen["threads"]  # type: ignore[assignment] # see above
    of_vcpu = {cpus for name, cpus in found.items() if name.startswith("CPU 0/")}
    assert of_vcpu == {vcpu}
    assert any(name.startswith("IO iothread1 ") for name in found)
    others = {cpus for name, cpus in found.items() if not name.startswith("CPU 0/")}
    assert others == {io}, "QEMU's other threads are on the I/O core"
    (shown,) = seen["shown"]  # type: ignore[misc] # a list of one
    assert (shown["min"], shown["max"], shown["active"]) == (1, 1, 1)
    refused: subprocess.CompletedProcess[str] = seen["refused"]  # type: ignore[assignment] # see above
    assert refused.returncode == 1
    assert "VT0921" in refused.stderr
    assert "verified" in str(seen["record"])
    assert left_behind() == []
