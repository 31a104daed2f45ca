"""`vtorque plan` as a user meets it: which node it draws, what goes to which stream, terminal and pipe."""

import json
import os
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.spec.helpers import MINIMAL, ROOT
from tests.support.terminal import on_terminal
from tests.test_cli import PATH, SITE, vtorque

CAVITY = """\
apiVersion: vtorque/v1
name: cavity
image: debian-12
batch: {exclusive: true}
vcpus: 14
memory: 60GiB
vms_per_node: 2
pinning: auto
iocm: {min_cores: 1, max_cores: 2}
run: hostname
"""


@pytest.fixture
def cavity(tmp_path: Path) -> Path:
    path = tmp_path / "cavity.vjob.yaml"
    path.write_text(CAVITY)
    return path


def plain(shown: bytes) -> str:
    """What a terminal shows, without its colours and the ends of lines as a terminal has them."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


def plan(path: Path, *arguments: str, **environment: str) -> str:
    done = vtorque("plan", path, "--site", SITE, *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_text_in_a_pipe(cavity: Path) -> None:
    shown = plan(cavity)
    assert shown.startswith("cavity on a node of class `thin`\n2 sockets, 2 NUMA cells, 32 cores, 64 CPUs, ")
    for words in ("H host: CPUs 0, 32; 8GiB of memory", "ppn 62", "property thin", "1 guest 1: 14 vCPUs on CPUs "):
        assert f"\n  {words}" in shown
    assert shown == plan(cavity, COLUMNS="200", TERM="xterm-256color", LC_ALL="C")
    assert "\x1b" not in shown


def test_a_node_of_another_class(cavity: Path) -> None:
    data = json.loads(plan(cavity, "--node", "fat", "--format", "json"))
    assert data["node"] == "a node of class `fat`"
    assert [cell["id"] for cell in data["cells"]] == [0, 1, 2, 3]
    assert {"word": "property", "value": "fat"} in data["asked"]


def test_every_format_tells_of_the_same_threads(cavity: Path) -> None:
    data = json.loads(plan(cavity, "--format", "json"))
    cores = [core for cell in data["cells"] for core in cell["cores"]]
    pinned = {
        f"{core['guest']}.{vcpu}": cpu
        for core in cores
        for cpu, vcpu in zip(core["cpus"], core["vcpus"], strict=True)
        if vcpu is not None
    }
    assert len(pinned) == 28
    root = ElementTree.fromstring(plan(cavity, "--format", "svg"))
    titles = {element.text for element in root.iter("{http://www.w3.org/2000/svg}title")}
    assert {f"CPU {cpu}: {sign}" for sign, cpu in pinned.items()} <= titles
    text = plan(cavity)
    assert all(re.search(rf" {re.escape(sign)}( |$)", text, re.MULTILINE) for sign in pinned)


@pytest.mark.parametrize("form", ["text", "json", "svg"])
def test_a_job_that_does_not_fit_is_not_drawn(cavity: Path, form: str) -> None:
    cavity.write_text(CAVITY.replace("vcpus: 14", "vcpus: 20"))
    for arguments, code in ((["--node", "thin"], 1), (["--node", "fat"], 0)):
        done = vtorque("plan", cavity, "--site", SITE, "--format", form, *arguments)
        assert done.returncode == code, done.stderr
        assert bool(done.stdout) == (code == 0)
    done = vtorque("plan", cavity, "--site", SITE, "--format", form, "--node", "thin")
    assert f"{cavity}:5:8: error[VT04" in done.stderr
    assert "`thin`" in done.stderr


def test_a_class_that_the_queue_does_not_reach(cavity: Path, tmp_path: Path) -> None:
    cavity.write_text(CAVITY.replace("exclusive: true", "exclusive: true, queue: short"))
    for arguments in (("plan", cavity), ("compile", cavity, "-o", tmp_path / "out")):
        done = vtorque(*arguments, "--site", SITE, "--node", "fat")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{cavity}:4:33: error[VT0409]: the queue `short` does not reach nodes of class `fat`" in done.stderr
        assert "help: it reaches thin; name it, or another queue" in done.stderr
    assert not (tmp_path / "out").exists()
    assert plan(cavity, "--node", "thin")


def test_a_faulty_job_is_not_drawn(tmp_path: Path) -> None:
    path = tmp_path / "bad.vjob.yaml"
    path.write_text(MINIMAL + "vcpu: 2\n")
    done = vtorque("plan", path, "--format", "svg")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error[VT0102]" in done.stderr


def test_a_class_that_the_site_does_not_have(cavity: Path) -> None:
    done = vtorque("plan", cavity, "--site", SITE, "--node", "thn")
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no node class `thn`; did you mean thin?" in done.stderr


@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_shows_the_same_in_colour(cavity: Path, *, no_colour: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": PATH, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    environment.pop("NO_COLOR", None)
    if no_colour:
        environment["NO_COLOR"] = "1"
    command = [sys.executable, "-m", "vtorque_spec", "plan", str(cavity), "--site", str(SITE)]
    shown = on_terminal(command, env=environment, cwd=ROOT)
    assert shown.code == 0
    assert plain(shown.terminal) == plan(cavity)
    assert (b"48;" in shown.terminal) != no_colour  # a background of one of 256 colours


def test_a_narrow_terminal(cavity: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": PATH, "TERM": "xterm", "COLUMNS": "50", "LINES": "24"}
    command = [sys.executable, "-m", "vtorque_spec", "plan", str(cavity), "--site", str(SITE)]
    lines = plain(on_terminal(command, env=environment, cwd=ROOT).terminal).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 50


def test_the_picture_in_the_docs_is_fresh(tmp_path: Path, *, update_golden: bool) -> None:
    """docs/plan.png is a picture of docs/plan.svg, taken with a browser."""
    job = tmp_path / "job.vjob.yaml"
    job.write_text((ROOT / "docs/plan.md").read_text().partition("```yaml\n")[2].partition("```")[0])
    drawn, path = plan(job, "--format", "svg"), ROOT / "docs/plan.svg"
    if update_golden:
        path.write_text(drawn)
    assert drawn == path.read_text()
