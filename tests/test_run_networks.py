"""`vtorque run` on the networks of a site, with real guests: a bridge with its filter, and a way out."""

import base64
import contextlib
import json
import os
import pwd
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boots import Done, finished, left_behind, started, virsh, wait_for
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd
from tests.test_run import PYTHONPATH, Count, until_not_silent, user, work, write_job
from vtorque_runtime.forwarding import SWITCH
from vtorque_runtime.identity import node_name
from vtorque_runtime.images.store import SYSTEM_STORE, installed
from vtorque_spec import data

__all__ = ["user", "work"]  # fixtures
pytestmark = [pytest.mark.boot, pytest.mark.libvirt, pytest.mark.root]
LIMIT_S = 300
BRIDGE, HOST = "vtbridge0", "10.99.0.1"
"""Not `vt-`: what the runtime leaves behind is called so."""
OUTSIDE, NAMESPACE = "198.18.77.2", "vtorque-test"
ETH_P_ALL = 3

FORGE = """
import socket, struct
from pathlib import Path
link = next(path.name for path in Path("/sys/class/net").iterdir() if path.name != "lo")
own = bytes.fromhex(Path("/sys/class/net", link, "address").read_text().strip().replace(":", ""))
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind((link, 0))
everybody, other = b"\\xff" * 6, bytes.fromhex("525400112233")
mine, stolen = socket.inet_aton(ADDRESS), socket.inet_aton("10.99.0.77")
def ip(source, mark):
    head = [0x4500, 20 + len(mark), 1, 0, 0x40FD, 0, *struct.unpack("!4H", source + stolen)]
    total = sum(head)
    head[5] = 0xFFFF - (total & 0xFFFF) - (total >> 16)
    return struct.pack("!10H", *head) + mark
def arp(mac, source, mark):
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, mac, source, everybody, mine) + mark
frames = {
    b"own-ip": own + b"\\x08\\x00" + ip(mine, b"<own-ip>"),
    b"own-arp": own + b"\\x08\\x06" + arp(own, mine, b"<own-arp>"),
    b"other-ip": own + b"\\x08\\x00" + ip(stolen, b"<other-ip>"),
    b"other-mac": other + b"\\x08\\x00" + ip(mine, b"<other-mac>"),
    b"other-both": other + b"\\x08\\x00" + ip(stolen, b"<other-both>"),
    b"arp-other-ip": own + b"\\x08\\x06" + arp(own, stolen, b"<arp-other-ip>"),
    b"arp-other-mac": own + b"\\x08\\x06" + arp(other, mine, b"<arp-other-mac>"),
    b"ipv6": own + b"\\x86\\xdd" + struct.pack("!IHBB", 6 << 28, 6, 253, 64) + bytes(15) + b"\\1" * 17 + b"<ipv6>",
    b"vlan": own + b"\\x81\\x00\\x00\\x01\\x08\\x00" + ip(mine, b"<vlan>"),
    b"end": own + b"\\x08\\x00" + ip(mine, b"<end>"),
}
for frame in frames.values():
    raw.send(everybody + frame)
"""
"""What root of a guest can send, each with a mark that tells it."""


def ip(*words: str) -> None:
    """Change the host's links."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def bridge() -> Iterator[None]:
    """A site's bridge, and this node's address on it."""
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("address", "add", f"{HOST}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        yield
    finally:
        ip("link", "delete", BRIDGE)


@pytest.fixture
def outside() -> Iterator[subprocess.Popen[bytes]]:
    """Another host, which answers with the address that it sees the caller at; it knows no way to the guests."""
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", "vtout1", "type", "veth", "peer", "name", "vtout2", "netns", NAMESPACE)
        ip("address", "add", "198.18.77.1/24", "dev", "vtout1")
        ip("link", "set", "vtout1", "up")
        ip("-n", NAMESPACE, "address", "add", f"{OUTSIDE}/24", "dev", "vtout2")
        ip("-n", NAMESPACE, "link", "set", "vtout2", "up")
        server = (
            "import socket\ns = socket.create_server(('198.18.77.2', 7777))\nprint(flush=True)\n"
            "while True:\n    c, a = s.accept()\n    c.sendall(a[0].encode())\n    c.close()"
        )
        command = ["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", server]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
            process.kill()
    finally:
        ip("netns", "delete", NAMESPACE)
        with contextlib.suppress(subprocess.CalledProcessError):  # it goes with its peer, in its own time
            ip("link", "delete", "vtout1")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The built-in site, for a test to write its networks to."""
    (tmp_path / "images").mkdir()
    image = (data.schemas() / "local/images/debian-12.yaml").read_text()
    stored = next(one for one in installed(SYSTEM_STORE) if one.name == "debian-12")
    (tmp_path / "images/debian-12.yaml").write_text(f"{image}sha256: {stored.sha256}\n")
    text = (data.schemas() / "local/site.yaml").read_text()
    (tmp_path / "site.yaml").write_text(text[: text.index("networks:")] + "networks:\n")
    return tmp_path


def offer(site: Path, network: str) -> None:
    """Write the site's only network."""
    with (site / "site.yaml").open("a") as file:
        file.write(f"  default: {network}\n")


def run_at(site: Path, owner: pwd.struct_passwd, job: Path) -> list[str]:
    """`vtorque run` as root, by the site's files."""
    arguments = ["run", str(job), "--as", owner.pw_name, "--site", str(site)]
    return [sys.executable, "-c", f"import vtorque_spec.cli as c; c.main({arguments!r})"]


def as_root_inside(domain: str, program: str) -> str:
    """Run Python as root of the guest, by its agent, which is the image's own; return what it printed."""

    def agent(**message: object) -> dict[str, object]:
        answer: dict[str, dict[str, object]] = json.loads(virsh("qemu-agent-command", domain, json.dumps(message)))
        return answer["return"]

    arguments = {"path": "/usr/bin/python3", "arg": ["-c", program], "capture-output": True}
    pid = agent(execute="guest-exec", arguments=arguments)["pid"]
    while not (status := agent(execute="guest-exec-status", arguments={"pid": pid}))["exited"]:
        time.sleep(0.1)
    assert status["exitcode"] == 0, base64.b64decode(str(status.get("err-data", ""))).decode()
    return base64.b64decode(str(status.get("out-data", ""))).decode().strip()


def marks(listening: socket.socket) -> set[str]:
    """Which frames came through to the bridge, up to the one that ends them."""
    seen: set[str] = set()
    listening.settimeout(60)
    while "end" not in seen:
        frame = listening.recv(2048)
        seen |= {mark.decode() for mark in re.findall(rb"<([a-z0-9-]+)>", frame)}
    return seen - {"end"}


def test_guests_on_a_bridge(
    libvirtd: Libvirtd, user: pwd.struct_passwd, work: Path, bridge: None, site: Path, count_boots: Count
) -> None:
    """Addresses of the table, names that resolve, ssh from one to the other; root of a guest steals no address."""
    offer(
        site,
        f"{{kind: bridge, bridge: {BRIDGE}, subnet: 10.99.0.0/24, gateway: {HOST}, dns: [10.99.0.53], "
        f"search: [cluster.test], ntp: [10.99.0.123], "
        f"addresses: {{first: 10.99.0.32, slots: 16, nodes: {node_name()}}}}}",
    )
    job = write_job(
        work,
        f"""\
        mounts: [home]
        vms_per_node: 2
        vcpus: 1
        memory: 768MiB
        timeouts: {{boot: {LIMIT_S}s}}
        run: |
          cd {work}
          for name in v{node_name()}-0 v{node_name()}-1 {node_name()}; do
            getent ahostsv4 $name | sed -n 's/ *STREAM//p'
          done
          cat /etc/resolv.conf
          grep -c . /proc/net/route
          ssh -o BatchMode=yes v{node_name()}-1 hostname
          touch ready
          while [ ! -e go ]; do sleep 0.2; done
          exit 7
        """,
    )
    seen: dict[str, set[str]] = {}

    def attempt() -> Done:
        for name in ("ready", "go"):
            (work / name).unlink(missing_ok=True)
        with started(run_at(site, user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            if wait_for(work / "ready", process, LIMIT_S + 60):
                (domain,) = (name for name in virsh("list", "--name").split() if name.endswith("-0"))
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as listening:
                    listening.bind((BRIDGE, 0))
                    as_root_inside(domain, f"ADDRESS = '10.99.0.32'\n{FORGE}")
                    seen["marks"] = marks(listening)
                (work / "go").touch()
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 7, done.err
    assert [" ".join(line.split()) for line in done.out.splitlines()] == [
        f"10.99.0.32 v{node_name()}-0",
        f"10.99.0.33 v{node_name()}-1",
        f"{HOST} {node_name()}",
        "search cluster.test",
        "nameserver 10.99.0.53",
        "3",  # a head, the subnet, the gateway
        f"v{node_name()}-1",
    ]
    assert seen["marks"] == {"own-ip", "own-arp"}
    assert left_behind() == []
    assert os.path.isdir(f"/sys/class/net/{BRIDGE}")
    assert not [name for name in virsh("nwfilter-list").split() if name.startswith("vt-")]


def test_a_way_out(
    libvirtd: Libvirtd,
    user: pwd.struct_passwd,
    work: Path,
    outside: subprocess.Popen[bytes],
    site: Path,
    count_boots: Count,
) -> None:
    """A host that knows no way to the guest sees the node; when the job is over, the node passes nothing on again."""
    offer(site, "{kind: nat, dns: [198.18.77.2]}")
    found = SWITCH.read_text()
    job = write_job(
        work,
        f"""\
        timeouts: {{boot: {LIMIT_S}s}}
        run: |
          exec 3<>/dev/tcp/{OUTSIDE}/7777 && cat <&3; echo
          cat /etc/resolv.conf
        """,
    )
    switched = []

    def attempt() -> Done:
        with started(run_at(site, user, job), ROOT, PYTHONPATH=PYTHONPATH) as process:
            while process.poll() is None and not virsh("net-list", "--name"):
                time.sleep(0.1)
            switched.append(SWITCH.read_text())
            return finished(process)

    done = until_not_silent(attempt, count_boots)
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["198.18.77.1", "nameserver 198.18.77.2"], done.err
    assert switched[-1] == "1\n"
    assert SWITCH.read_text() == found
    assert left_behind() == []
