"""`vtorque site` as an admin meets it."""

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.site.helpers import PLAIN, site
from tests.spec.helpers import ROOT
from tests.support.terminal import on_terminal
from vtorque_spec.cli import group
from vtorque_spec.render.formats import FORMATS

PATH = os.pathsep.join(str(ROOT / part) for part in ("", "compilers", "runtime"))
RICH = (
    "  thin: {cpus: 8, memory: 16GiB}\n"
    '  fat: {cpus: 30, memory: 62GiB, nodes: "f[1-4]", property: mem64, topology: {sockets: 2, cores: 8, threads: 2},\n'
    "    host_reserve: {cores: 1, memory: 2GiB}, slot: core, vcpu: thread}\n"
    "queues: {batch: {node_classes: [fat, thin], default: true}, large: {node_classes: [fat]}}\n"
    "iocm: {mode: skvm, nics: [eth0]}\n"
)


def vtorque(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["site", *map(str, arguments)], standalone_mode=False, catch_exceptions=False)


def test_the_built_in_site_is_fine() -> None:
    done = vtorque("check", ROOT / "schemas/local")
    assert (done.return_value, done.stdout) == (0, "")
    assert done.stderr == f"site {ROOT}/schemas/local: 0 errors, 0 warnings\n"


def test_a_warning_alone_is_no_failure(tmp_path: Path) -> None:
    done = vtorque("check", site(tmp_path, old="networks:\n", new="networks:\n  same: {kind: isolated}\n"))
    assert done.return_value == 0
    assert "warning[VT0743]" in done.stdout
    assert done.stderr.endswith("/site: 0 errors, 1 warning\n")


def test_findings_of_all_files_come_at_once(tmp_path: Path) -> None:
    root = site(tmp_path, old="cpus: 8", new="cpus: eight")
    (root / "policy.yaml").write_text("properties: {vcpus: {maximum: few}}\n")
    (root / "imgaes").mkdir()
    image = root / "images/debian-12.yaml"
    image.write_text(image.read_text().replace("guest: linux", "guest: lynux"))
    done = vtorque("check", "--format", "json", root)
    assert done.return_value == 1
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    places = {(finding["code"], Path(finding["file"]).name if finding["file"] else None) for finding in findings}
    assert places >= {("VT0701", "site.yaml"), ("VT0701", "debian-12.yaml"), ("VT0744", None)}


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "text"])
def test_formats(form: str, tmp_path: Path) -> None:
    done = vtorque("check", "--format", form, site(tmp_path, old="cpus: 8", new="cpus: eight"))
    assert done.return_value == 1
    assert "VT0701" in done.stdout
    assert done.stderr == ""


def test_the_disks_are_looked_at_when_asked_for(tmp_path: Path) -> None:
    root = site(tmp_path, file="images/debian-12.yaml", new="path: /nonexistent/disk.qcow2\n")
    assert vtorque("check", root).return_value == 0
    done = vtorque("check", "--images", root)
    assert done.return_value == 1
    assert "error[VT0746]" in done.stdout


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"x" * 10_000_000)
    root = site(tmp_path, file="images/debian-12.yaml", new=f"path: {disk}\n")
    command = [sys.executable, "-m", "vtorque_spec", "site", "check", "--images", str(root)]
    environment = {**os.environ, "PYTHONPATH": PATH, "TERM": "xterm", "COLUMNS": "100"}
    done = on_terminal(command, env=environment, errors_only=True)
    assert b"debian-12" in done.terminal
    assert b"MB" in done.terminal
    assert b"VT0748" in done.out
    assert done.code == 1


def test_show(tmp_path: Path) -> None:
    root = site(tmp_path, old="  thin: {cpus: 8, memory: 16GiB}\n", new=RICH)
    lines = vtorque("show", root).stdout.splitlines()
    assert lines[:12] == [
        "Node classes",
        "  name  CPUs  memory  sockets x cores x threads  NUMA cells  host keeps    slot    vCPU    property  nodes",
        "  thin  8     16GiB   -                          -           -             thread  core    -         -",
        "  fat   30    62GiB   2 x 8 x 2                  -           1 core, 2GiB  core    thread  mem64     f[1-4]",
        "",
        "Queues",
        "  name   node classes  default",
        "  batch  thin, fat     yes",
        "  large  fat           -",
        "",
        "I/O cores",
        "  mode  adapters",
    ]
    assert lines[12] == "  skvm  eth0"
    assert "  home  $HOME   $HOME   rw" in lines
    assert "  default  isolated" in lines
    assert any(line.startswith("  debian-12  1111111111111111  current  256MiB") for line in lines)


def test_show_as_json(tmp_path: Path) -> None:
    root = site(tmp_path, old="  thin: {cpus: 8, memory: 16GiB}\n", new=RICH)
    shown = json.loads(vtorque("show", "--format", "json", root).stdout)
    assert shown["name"] == "plain"
    assert shown["node_classes"]["thin"] == {"cpus": 8, "memory": 16 * 2**30}
    assert shown["node_classes"]["fat"]["topology"] == {"sockets": 2, "cores": 8, "threads": 2}
    assert shown["queues"]["batch"] == {"node_classes": ["fat", "thin"], "default": True}
    assert shown["iocm"] == {"mode": "skvm", "nics": ["eth0"]}
    assert set(shown) == {
        "name", "batch", "hypervisor", "min_uid", "node_classes", "queues", "images", "mounts", "networks", "iocm",
        "other_revisions",
    }  # fmt: skip


def test_show_of_a_site_without_queues() -> None:
    lines = vtorque("show", PLAIN).stdout.splitlines()
    assert lines[4:10] == ["Queues", "  none", "", "I/O cores", "  mode     adapters", "  libvirt  any nic or hca"]


def test_show_on_a_terminal_has_every_text(tmp_path: Path) -> None:
    """What the tables hold is no markup: a word in brackets stays."""
    root = site(tmp_path, old="  thin: {cpus: 8, memory: 16GiB}\n", new=RICH)
    environment = {**os.environ, "PYTHONPATH": PATH, "TERM": "xterm", "COLUMNS": "140"}
    command = [sys.executable, "-m", "vtorque_spec", "site", "show", str(root)]
    done = on_terminal(command, env=environment)
    assert done.code == 0
    for text in ("Node classes", "f[1-4]", "2 x 8 x 2", "debian-12", "$HOME", "isolated"):
        assert text in done.terminal.decode()
