"""network.sh and names.sh as root of a guest runs them: on an /etc of its own."""

import subprocess
from pathlib import Path

import pytest

from vtorque_compilers import seed

pytestmark = pytest.mark.root
SCRIPT = (Path(seed.__file__).parent / "network.sh").read_text()
ENTER = """
mount -t tmpfs none /etc
: >"$CONSOLE" && mount --bind "$CONSOLE" /dev/console
eval "$BEFORE"
PATH=$BIN:$PATH sh -c "$SCRIPT" network.sh "$@"
cd /etc && find . -type f | sort | xargs -r grep -H .
"""


def files(tmp_path: Path, dns: str, search: str, ntp: str, before: str = ":") -> tuple[list[str], str]:
    """The lines of /etc afterwards, each behind its file's name, and what the console shows."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text('#!/bin/sh\necho "systemctl $*" >>/etc/called\n')
    (tmp_path / "bin/systemctl").chmod(0o755)
    console = tmp_path / "console"
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "BIN": str(tmp_path / "bin"), "CONSOLE": str(console),
        "BEFORE": before, "SCRIPT": SCRIPT,
    }  # fmt: skip
    command = ["unshare", "--mount", "sh", "-euc", ENTER, "sh", dns, search, ntp]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), console.read_text()


def test_no_services_touch_nothing(tmp_path: Path) -> None:
    assert files(tmp_path, "", "", "") == ([], "")


def test_name_servers_go_to_a_plain_resolv_conf(tmp_path: Path) -> None:
    lines, _ = files(tmp_path, "10.0.0.53 10.0.0.54", "a.test b.test", "")
    name = "./resolv.conf:"
    assert lines == [f"{name}search a.test b.test", f"{name}nameserver 10.0.0.53", f"{name}nameserver 10.0.0.54"]


def test_a_resolver_of_the_images_keeps_its_own(tmp_path: Path) -> None:
    assert files(tmp_path, "10.0.0.53", "", "", "ln -s /run/nowhere /etc/resolv.conf") == ([], "")


def test_time_servers_go_to_chrony(tmp_path: Path) -> None:
    lines, console = files(
        tmp_path, "", "", "ntp1 10.0.0.1", "mkdir /etc/chrony; echo driftfile x >/etc/chrony/chrony.conf"
    )
    assert lines[1:] == [
        f"./chrony/chrony.conf:{line}" for line in ("driftfile x", "server ntp1 iburst", "server 10.0.0.1 iburst")
    ]
    assert "chrony" in lines[0]
    assert console == ""


def test_an_image_without_a_time_daemon_says_so(tmp_path: Path) -> None:
    hidden = "mount -t tmpfs none /lib/systemd"
    lines, console = files(tmp_path, "", "", "ntp1", hidden)
    assert (lines, console) == (
        [], "vtorque: this image has no time daemon (chrony, systemd-timesyncd): nobody asks ntp1\n"
    )  # fmt: skip


def test_time_servers_go_to_timesyncd(tmp_path: Path) -> None:
    there = "mount -t tmpfs none /lib/systemd; : >/lib/systemd/systemd-timesyncd"
    lines, _ = files(tmp_path, "", "", "ntp1 ntp2", there)
    assert lines == [
        "./called:systemctl --no-block restart systemd-timesyncd.service",
        "./systemd/timesyncd.conf.d/vtorque.conf:[Time]",
        "./systemd/timesyncd.conf.d/vtorque.conf:NTP=ntp1 ntp2",
    ]


def test_the_names_of_the_job_are_put_in_place(tmp_path: Path) -> None:
    """From the seed's volume; the image's own lines of /etc/hosts stay."""
    volume, tools = tmp_path / "volume", tmp_path / "bin"
    volume.mkdir()
    tools.mkdir()
    (volume / "hosts").write_text("10.0.0.2 va-0\n")
    (volume / "ssh_config").write_text("Host va-0\n")
    (tools / "mount").write_text(f'#!/bin/sh\necho "$1 $2 $3" >/etc/mounted; cp {volume}/* "$4"\n')
    (tools / "umount").write_text('#!/bin/sh\nrm "$1"/*\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    script = (Path(seed.__file__).parent / "names.sh").read_text()
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "BIN": str(tools), "CONSOLE": str(tmp_path / "console"),
        "BEFORE": "mount -t tmpfs none /run; echo 127.0.0.1 localhost >/etc/hosts", "SCRIPT": script,
    }  # fmt: skip
    arguments = ["/etc/ssh/ssh_config.d/vtorque.conf", "10.0.0.1 host\n"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", ENTER + "ls /run\n", "sh", *arguments], env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "./hosts:127.0.0.1 localhost",
        "./hosts:10.0.0.2 va-0",
        "./hosts:10.0.0.1 host",
        "./mounted:-o ro /dev/disk/by-id/virtio-vdb",
        "./ssh/ssh_config.d/vtorque.conf:Host va-0",
    ], "and nothing is left in /run"
