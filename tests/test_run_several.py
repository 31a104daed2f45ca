"""`vtorque run` with two real guests: each on its own core, each proven, and no core for others."""

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
from tests.test_run import PYTHONPATH, Count, ask_inside, run_as, until_not_silent, user, work, write_job

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt]
LIMIT_S = 300
"""Two guests boot at once, each on one core, emulated."""


def tokens(domain: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in ask_inside(domain, "/run/vtorque/boot").splitlines())


@pytest.mark.root
def test_two_guests_on_their_own_cores(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, count_boots: Count
) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two guests need two cores")
    job = write_job(
        work,
        f"""\
        mounts: [home]
        vms_per_node: 2
        vcpus: 1
        memory: 768MiB
        pinning: auto
        timeouts: {{boot: {LIMIT_S}s}}
        run: |
          cd {work}
          hostname
          cat /run/vtorque/boot
          exec 3<>/dev/tcp/10.213.0.3/22 && head -c 4 <&3; echo
          ssh -o BatchMode=yes 10.213.0.3 cat /run/vtorque/boot | sed 's/^/other-/'
          touch ready
          while [ ! -e go ]; do sleep 0.2; done
          exit 7
        """,
    )
    seen: dict[str, object] = {}

    def attempt() -> Done:
        for name in ("ready", "go"):
            (work / name).unlink(missing_ok=True)
        with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            if wait_for(work / "ready", process, LIMIT_S + 60):
                domains = sorted(name for name in virsh("list", "--name").split() if name.startswith("vt-local-"))
                seen["tokens"] = [tokens(domain) for domain in domains]
                seen["uuids"] = [virsh("domuuid", domain) for domain in domains]
                seen["pins"] = [virsh("vcpupin", domain).split()[-1] for domain in domains]
                seen["threads"] = [set(thread_cpus(domain).values()) for domain in domains]
                seen["networks"] = [name for name in virsh("net-list", "--name").split() if name.startswith("vt-")]
                (spool,) = [path for path in Path("/var/lib/vtorque/jobs").iterdir() if path.is_dir()]
                seen["copies"] = {path.name: path.stat() for path in spool.glob("console*.log")}
                status = [sys.executable, "-m", "vtorque_runtime", "status"]
                seen["status"] = subprocess.check_output(status, env=environment(PYTHONPATH=PYTHONPATH), text=True)
                with started(run_as(user, job), ROOT, PYTHONPATH=PYTHONPATH) as second:
                    seen["second"] = finished(second)
                (work / "go").touch()
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 7, done.err
    (first, other) = seen["tokens"]  # type: ignore[misc] # a list of two
    out = done.out.splitlines()
    assert first["token"] == dict(line.split("=", 1) for line in out if line.startswith("token="))["token"]
    assert [first["product_uuid"], other["product_uuid"]] == seen["uuids"]
    assert not [name for name in ("token", "boot_id", "product_uuid") if first[name] == other[name]]
    assert out[0].endswith("-0")
    assert "SSH-" in out, "the guests of a job reach each other"
    assert f"other-token={other['token']}" in out, "their owner passes from one to the other"
    assert len(seen["networks"]) == 1  # type: ignore[arg-type] # a list
    assert len(set(seen["pins"])) == 2  # type: ignore[call-overload] # a list
    assert not set.intersection(*seen["threads"]), "no thread of one guest may run where the other's do"  # type: ignore[misc]
    assert sorted(seen["copies"]) == ["console.log", "console1.log"]  # type: ignore[call-overload]
    assert {found.st_uid for found in seen["copies"].values()} == {user.pw_uid}  # type: ignore[attr-defined]
    assert re.search(r"^local-\w+ .* run .* 0-1 ", str(seen["status"]), re.MULTILINE)
    refused: Done = seen["second"]  # type: ignore[assignment] # see above
    assert refused.code == 1
    assert "error[VT04" in refused.err
    assert re.search(r"vtorque: job local-\w+ holds the CPUs 0-1", refused.err)
    for name in ("0: firmware", "1: firmware", "0: ready", "1: ready"):
        assert f"-{name}" in done.err
    assert left_behind() == []
