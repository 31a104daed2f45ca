"""What tests/invalid does not show: what is fine, and what only a larger site has."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.site.helpers import found, site
from tests.spec.helpers import ROOT
from vtorque_spec.diagnostics import Report
from vtorque_spec.site import load_site

CLASS = "  thin: {cpus: 8, memory: 16GiB}\n"


def loaded(root: Path) -> list[tuple[str, str]]:
    report = Report()
    load_site(root, report)
    return [(item.id, item.message) for item in report.sorted()]


@pytest.mark.parametrize(
    "members",
    [
        # two threads, siblings far apart, the host's core reserved
        "cpus: 46, memory: 90GiB, host_reserve: {cores: 1, memory: 6GiB},"
        " topology: {sockets: 2, cores: 12, threads: 2},"
        " cells: [{id: 0, cpus: [0-11, 24-35], memory: 48GiB}, {id: 1, cpus: [12-23, 36-47], memory: 48GiB}]",
        # a cell without memory, one without CPUs, ids with gaps, distances that differ by direction
        "cpus: 4, memory: 8GiB, cells: [{id: 0, cpus: 0-3, distances: [10, 20, 80]},"
        " {id: 2, memory: 8GiB, distances: [30, 10, 80]}, {id: 8, memory: 1GiB, distances: [80, 80, 10]}]",
        # cores that are off: the cells tell, not the topology
        "cpus: 6, memory: 8GiB, cells: [{id: 0, cpus: [0-2, 5-7], memory: 8GiB}]",
        # jobs are given less than there is
        "cpus: 1, memory: 1GiB, topology: {sockets: 8, cores: 64, threads: 8}",
        # all memory as huge pages
        "cpus: 4, memory: 4GiB, cells: [{id: 0, cpus: 0-3, memory: 4GiB, hugepages: {1GiB: 3, 2MiB: 512}}]",
    ],
)
def test_machines_that_add_up(members: str, tmp_path: Path) -> None:
    root = site(tmp_path, old=CLASS, new=f"  thin: {{{members}}}\n")
    assert loaded(root) == []
    assert found(root) == []


def test_every_class_is_checked(tmp_path: Path) -> None:
    """One thing too many of each kind is told of each class, at once."""
    short = "{cpus: 9, memory: 9GiB, cells: [{id: 0, cpus: 0-7, memory: 8GiB}]}"
    root = site(tmp_path, old=CLASS, new=f"  a: {short}\n  b: {short}\n")
    assert [code for code, _ in loaded(root)] == ["VT0731", "VT0733"] * 2


def test_nodes_of_many_classes(tmp_path: Path) -> None:
    classes = {"a": "n[001-100]", "b": "n[101-200]", "c": "m[1-9],n[100-101]", "d": "x[1-2]y[1-2]", "e": "login"}
    lines = "".join(f'  {name}: {{cpus: 1, memory: 1GiB, nodes: "{nodes}"}}\n' for name, nodes in classes.items())
    assert found(site(tmp_path, old=CLASS, new=lines)) == [
        ("VT0736", "the classes `a` and `c` have the node n100 in common"),
        ("VT0736", "the classes `b` and `c` have the node n101 in common"),
    ]


@pytest.mark.parametrize("nodes", ["n[0-99999999999]", "a[1-2],n[1-1000]m[1-1000]", "n[1-50000,1-60000]"])
def test_a_set_of_too_many_nodes_is_not_written_out(nodes: str, tmp_path: Path) -> None:
    ((code, message),) = found(site(tmp_path, old=CLASS, new=f'  thin: {{cpus: 1, memory: 1GiB, nodes: "{nodes}"}}\n'))
    assert code == "VT0735"
    assert message.endswith("it has more than 100000 nodes")


def test_node_sets_are_read_where_they_are_asked_for() -> None:
    """A command that does not look at nodes goes without ClusterShell."""
    program = (
        "import sys; from pathlib import Path; from vtorque_spec.diagnostics import Report;"
        "from vtorque_spec.site import load_site; import vtorque_spec.site.check;"
        "load_site(Path(sys.argv[1]), Report()); print('ClusterShell' in sys.modules)"
    )
    case = ROOT / "tests/invalid/sites/VT0736-one-node"
    done = subprocess.run([sys.executable, "-c", program, case], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("mounts", "codes"),
    [
        ("  a: {source: /a, target: /x, mode: rw}\n  b: {source: /b, target: /xy, mode: rw}\n", []),
        ("  a: {source: /a, target: /x, mode: rw}\n  b: {source: /b, target: /x/$USER, mode: rw}\n", ["VT0740"]),
        ("  a: {source: /a, target: /a, mode: ro}\n  b: {source: /a/in, target: /b, mode: rw}\n", []),
        ("  a: {source: /a, target: /a, mode: ro}\n  b: {source: /a, target: /b, mode: rw}\n", ["VT0741"]),
        ("  a: {source: /a, target: /a, mode: ro}\n  b: {source: /a, target: /b, mode: ro}\n", []),
        ("  a: {source: /ab/c, target: /a, mode: ro}\n  b: {source: /a, target: /b, mode: rw}\n", []),
    ],
)
def test_mounts(mounts: str, codes: list[str], tmp_path: Path) -> None:
    root = site(tmp_path, old="mounts:\n", new=f"mounts:\n{mounts}")
    assert [code for code, _ in found(root)] == codes


@pytest.mark.parametrize(
    ("limit", "boot", "codes"),
    [("300s", "5 min", []), ("299s", "5 min", ["VT0738"]), ("10s", "soon", []), ("10s", "{a: 1}", []), ("1s", "7", [])],
)
def test_the_policy_s_boot_is_within_a_hook(limit: str, boot: str, codes: list[str], tmp_path: Path) -> None:
    """A default that is no duration is a finding of the policy, told elsewhere."""
    root = site(tmp_path, new=f"hook_limit: {limit}\n")
    (root / "policy.yaml").write_text(
        f"properties:\n  timeouts:\n    properties:\n      boot:\n        default: {boot}\n"
    )
    assert [code for code, _ in found(root)] == codes


def test_files_that_nothing_reads(tmp_path: Path) -> None:
    root = site(tmp_path)
    for name in ("README.md", ".gitlab-ci.yml", ".git/config.yaml", "policy.test/pass/a.vjob.yaml", "docs/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x: 1\n")
    (root / "policy.yaml").write_text("allOf:\n  - $ref: rules/a.yaml\n")
    (root / "rules").mkdir()
    (root / "rules/a.yaml").write_text("allOf:\n  - $ref: b.yaml\n")
    (root / "rules/b.yaml").write_text("properties:\n  vcpus: {maximum: 4}\n")
    assert found(root) == []
    (root / "rules/c.yaml").write_text("properties:\n  vcpus: {maximum: 4}\n")
    (root / "images/old.json").write_text("{}\n")
    assert found(root) == [
        ("VT0744", "nothing reads the file `images/old.json`"),
        ("VT0744", "nothing reads the file `rules/c.yaml`"),
    ]


def test_a_policy_that_cannot_be_read_says_nothing_of_the_files_it_refers_to(tmp_path: Path) -> None:
    root = site(tmp_path)
    (root / "policy.yaml").write_text("$ref: rules/a.yaml\nproperties: {vcpus: {maximum: 4}\n")
    (root / "rules").mkdir()
    (root / "rules/a.yaml").write_text("properties:\n  vcpus: {maximum: 4}\n")
    assert found(root) == []  # reading the site tells what is wrong with the policy


def test_a_directory_that_is_no_site_has_its_near_misses_named_only(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("x: 1\n")
    (tmp_path / "sites.yaml").write_text("x: 1\n")
    assert found(tmp_path) == [("VT0744", "nothing reads the file `sites.yaml`")]
