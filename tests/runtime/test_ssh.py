"""The ssh client trusts nothing but the key that was made before the boot."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.runtime import fakes
from vtorque_runtime import ssh
from vtorque_runtime.ssh import Access

ACCESS = Access(fakes.login(), Path("/spool/owner"), "s0", "vnode-0", "10.213.0.2", 22)


def test_the_command_line() -> None:
    line = ssh.argv(ACCESS, "exec cat 'a b'")
    assert line[line.index("ssh") :][:3] == ["ssh", "-F", "none"]
    assert line[-2:] == ["10.213.0.2", "exec cat 'a b'"]
    assert line[line.index("-p") :][:4] == ["-p", "22", "-l", "tester"]


def test_what_the_client_makes_of_it() -> None:
    line = ssh.argv(ACCESS, None, "-G")
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found = dict(option.split(" ", 1) for option in done.stdout.splitlines() if " " in option)
    wanted = {
        "batchmode": "yes",
        "clearallforwardings": "yes",
        "controlpath": "/spool/owner/s0",
        "forwardagent": "no",
        "forwardx11": "no",
        "globalknownhostsfile": "/dev/null",
        "hostkeyalias": "vnode-0",
        "identitiesonly": "yes",
        "identityagent": "none",
        "identityfile": "/spool/owner/id_ed25519",
        "permitlocalcommand": "no",
        "preferredauthentications": "publickey",
        "stricthostkeychecking": "true",
        "updatehostkeys": "false",
        "user": "tester",
        "userknownhostsfile": "/spool/owner/known_hosts",
    }
    assert {name: found.get(name) for name in wanted} == wanted


@pytest.mark.root
def test_root_drops_to_the_owner(tmp_path: Path) -> None:
    login = fakes.login()
    groups = tuple(type(login.groups[0])(f"g{gid}", gid) for gid in (23456, 34567))
    access = Access(type(login)("tester", 12345, groups, "/"), tmp_path, "s0", "a", "127.0.0.1", 22)
    prefix = ssh.argv(access, None)
    prefix = prefix[: prefix.index("--") + 1]
    done = subprocess.run(
        [*prefix, "sh", "-c", "id -u; id -G; grep NoNewPrivs /proc/self/status"], capture_output=True, check=True
    )
    assert done.stdout.split() == [b"12345", b"23456", b"34567", b"NoNewPrivs:", b"1"]


def test_others_stay_who_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "--reuid" not in ssh.argv(ACCESS, None)


def test_the_control_socket_fits_the_longest_job_id() -> None:
    longest = (
        Path("/var/tmp/vtorque-4294967295/jobs") / ("x" * 40) / "owner/s255"
    )  # ssh adds 17 bytes while it makes it
    assert len(str(longest)) + 17 < 108


def test_the_batch_systems_signal_ends_no_client() -> None:
    """It goes to all processes of a job; the one in the guest hears of it through a client."""
    line = ssh.argv(ACCESS, None)
    prefix = line[: line.index("--") + 1]
    done = subprocess.run([*prefix, "sh", "-c", "kill -s TERM $$; echo lives"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "lives\n")
