"""The commands as a user meets them: separate processes, exit codes, and what goes to which stream."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.spec.helpers import EXAMPLES, MINIMAL, ROOT
from tests.support.terminal import on_terminal

SITE = ROOT / "examples" / "site"
PATH = os.pathsep.join(str(ROOT / part) for part in ("", "compilers", "runtime"))
BAD = MINIMAL.replace("image: debian-12", "image: debian-12\nvcpu: 2\nmemory: 4")


def vtorque(*arguments: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vtorque_spec", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PATH, **environment},
    )


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.vjob.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.vjob.yaml"
    path.write_text(BAD)
    return path


def test_compile_prints_the_script_and_nothing_else(job: Path) -> None:
    done = vtorque("compile", job)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("#!/bin/bash\n#PBS ")
    assert "\n#PBS -N hello\n" in done.stdout


def test_a_failing_compile_submits_nothing(bad: Path, tmp_path: Path) -> None:
    done = vtorque("compile", bad, cwd=tmp_path)
    assert done.returncode == 1
    assert "#PBS -l walltime=vtorque-compile-failed\n" in done.stdout
    assert "exit 1\n" in done.stdout
    assert f"{bad}:4:1: error[VT0102]: the key `vcpu` is not known" in done.stderr
    assert "4 | vcpu: 2" in done.stderr
    assert "help: write `vcpus`" in done.stderr
    assert "VT0107" in done.stderr
    assert subprocess.run(["bash"], input=done.stdout, text=True, capture_output=True).returncode == 1


@pytest.mark.parametrize("arguments", [["compile", "no-such-file"], ["compile"], ["compile", "--nonsense", "x"]])
def test_wrong_usage_submits_nothing_either(arguments: list[str]) -> None:
    done = vtorque(*arguments)
    assert done.returncode == 2
    assert "vtorque-compile-failed" in done.stdout


def test_an_internal_error_is_told_as_one(job: Path) -> None:
    """The program is broken on purpose: the site's loader raises."""
    program = "import vtorque_spec.cli.setting as s, vtorque_spec.cli as c\ns.open_site = lambda *a: 1 / 0\nc.main()"
    command = [sys.executable, "-c", program, "compile", str(job)]
    environment = {**os.environ, "PYTHONPATH": PATH}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 3
    assert "this is a bug" in done.stderr
    assert "Traceback" not in done.stderr
    assert "vtorque-compile-failed" in done.stdout


@pytest.mark.parametrize("which", ["job", "bad"])
def test_a_full_disk_is_no_bug(which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    command = [sys.executable, "-m", "vtorque_spec", "compile", str(path)]
    environment = {**os.environ, "PYTHONPATH": PATH}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    told = "the output cannot be written: No space left on device" if which == "job" else "VT0102"
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr
    assert not any(word in done.stderr for word in ("Traceback", "a bug", "Exception")), done.stderr


def test_compile_into_a_directory(job: Path, bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert vtorque("compile", job, "-o", out).returncode == 0
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    seeds = {f"vm0/seed/{name}" for name in ("user-data", "meta-data", "network-config")}
    seeds |= {"seed/hosts", "seed/ssh_config"}  # on the seed of each guest
    assert names == {"job.sh", "job-plan.json", "manifest.json", "vm0/domain.xml"} | seeds
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert vtorque("compile", bad, "-o", out).returncode == 1  # a failure leaves the earlier bundle
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert vtorque("compile", job, "-o", out).returncode == 0  # a bundle is replaced
    (out / "mine.txt").write_text("precious")
    done = vtorque("compile", job, "-o", out)  # anything else is not
    assert done.returncode == 1
    assert "mine.txt" in done.stderr
    assert (out / "mine.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.vjob.yaml", "job.vjob.yaml", "out"]


def test_lint_reads_folders_and_says_where(job: Path, bad: Path, tmp_path: Path) -> None:
    done = vtorque("lint", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "2 job files: 2 errors, 0 warnings; --fix can mend 1 of them\n"
    assert done.stdout.count("error[") == 2
    assert vtorque("lint", job).returncode == 0


def test_lint_of_a_folder_without_jobs_says_so(tmp_path: Path) -> None:
    done = vtorque("lint", tmp_path)
    assert done.returncode == 2
    assert "no *.vjob.yaml" in done.stderr


def test_lint_as_json(bad: Path) -> None:
    import json

    done = vtorque("lint", "--format", "json", bad)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(f["code"], f["line"], f["column"], f["end_column"]) for f in findings] == [
        ("VT0102", 4, 1, 5),
        ("VT0107", 5, 9, 10),
    ]
    assert findings[0]["severity"] == "error"


def test_lint_as_json_tells_of_the_site_too(job: Path, tmp_path: Path) -> None:
    import json

    (tmp_path / "site.yaml").write_text("name: x\n")
    done = vtorque("lint", "--format", "json", "--site", tmp_path, job)
    assert done.returncode == 1
    assert {json.loads(line)["code"] for line in done.stdout.splitlines()} == {"VT0701"}


def test_show_prints_what_a_script_carries(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(vtorque("compile", ROOT / "examples/script.vjob.yaml").stdout)
    shown = vtorque("show", script)
    assert shown.returncode == 0
    assert "primes below" in shown.stdout
    assert "walltime: 900" in shown.stdout
    script.write_text(script.read_text().replace("VTU1.", "VTU1.AAAA"))
    assert vtorque("show", script).returncode == 1
    assert vtorque("show", ROOT / "README.md").returncode == 1


def test_explain_why(job: Path, tmp_path: Path) -> None:
    said = tmp_path / "said.vjob.yaml"
    said.write_text(MINIMAL + "vcpus: 3\n")
    assert f"{said}:5" in vtorque("explain", said, "--why", "vcpus").stdout
    done = vtorque("explain", job, "--why", "batch.walltime")
    assert "batch.walltime = 01:00:00" in done.stdout
    assert "schemas/base-policy.yaml:" in done.stdout
    wrong = vtorque("explain", job, "--why", "memroy")
    assert wrong.returncode == 2
    assert "did you mean memory?" in wrong.stderr


def test_explain_a_code() -> None:
    assert vtorque("explain", "vt0107").stdout.startswith("# VT0107")
    assert vtorque("explain", "VT9999").returncode == 2


def test_init_writes_a_job_that_passes_lint(tmp_path: Path) -> None:
    assert vtorque("init", cwd=tmp_path).returncode == 0
    assert vtorque("lint", "job.vjob.yaml", cwd=tmp_path).returncode == 0
    before = (tmp_path / "job.vjob.yaml").read_text()
    assert vtorque("init", cwd=tmp_path).returncode == 2
    assert (tmp_path / "job.vjob.yaml").read_text() == before


def test_what_the_template_comments_out_is_true(tmp_path: Path) -> None:
    """Every commented line of the template, uncommented, is still a valid job."""
    import re

    vtorque("init", cwd=tmp_path)
    text = (tmp_path / "job.vjob.yaml").read_text()
    head, body = text.split("apiVersion", 1)
    said = "apiVersion" + re.sub(r"^# ", "", body, flags=re.MULTILINE)
    assert said.count("\n#") == 0
    (tmp_path / "all.vjob.yaml").write_text(head + said)
    done = vtorque("lint", "all.vjob.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


COMMANDS = [
    "compile", "explain", "image", "init", "lint", "plan", "run", "schema", "show", "site", "submit", "verify",
    "completion",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    done = vtorque(command, "--help")
    assert done.returncode == 0
    assert f"  vtorque {command} " in done.stdout or f"vtorque {command}" in done.stdout.split("Options:")[0][20:]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert "_VTORQUE_COMPLETE" in vtorque("completion", shell).stdout
    words = {"bash": {"COMP_WORDS": "vtorque comp", "COMP_CWORD": "1"}}.get(shell)
    if words:
        done = vtorque(_VTORQUE_COMPLETE="bash_complete", **words)
        assert "plain,compile" in done.stdout


USES = {
    ("--help",): {"pydantic", "jsonschema", "jinja2", "ruamel", "rich", "libvirt", "cryptography"},
    ("init", "x.vjob.yaml"): {"pydantic", "jsonschema", "jinja2", "ruamel", "rich", "libvirt", "cryptography"},
    ("explain", "VT0107"): {"pydantic", "jsonschema", "jinja2", "ruamel", "rich", "libvirt", "cryptography"},
    ("explain", "memory"): {"jinja2", "rich", "libvirt", "cryptography", "ClusterShell", "vtorque_runtime"},
    ("plan", str(EXAMPLES[0])): {"jinja2", "rich", "libvirt", "cryptography", "xml", "vtorque_runtime"},
    ("policy", "show"): {"jinja2", "libvirt", "cryptography", "ClusterShell", "vtorque_runtime"},
    ("schema", "vjob"): {"jsonschema", "jinja2", "rich", "libvirt", "cryptography"},
    ("schema", "vjob", "--site", str(ROOT / "schemas/local")): {"jsonschema", "jinja2", "rich", "libvirt"},
    ("schema", "site"): {"jsonschema", "jinja2", "rich", "libvirt", "cryptography", "ClusterShell"},
    ("schema", "policy"): {"jsonschema", "jinja2", "rich", "libvirt", "cryptography", "ClusterShell"},
    ("policy", "lint"): {"jinja2", "rich", "libvirt", "cryptography", "vtorque_runtime"},
    ("site", "check"): {"jinja2", "rich", "libvirt", "cryptography", "ClusterShell", "vtorque_runtime"},
    ("site", "node-class", "--from-host"): {"jsonschema", "jinja2", "rich", "libvirt", "ClusterShell", "xml"},
    ("site", "show"): {"jsonschema", "jinja2", "rich", "libvirt", "cryptography", "ClusterShell", "vtorque_runtime"},
    ("policy", "test", str(SITE)): {"jinja2", "rich", "libvirt", "cryptography", "xml", "vtorque_runtime"},
    ("policy", "diff", str(SITE), str(SITE), str(EXAMPLES[0])): {"jinja2", "rich", "libvirt", "vtorque_runtime"},
    ("submit", str(EXAMPLES[0])): {"rich", "libvirt", "cryptography", "pycdlib", "vtorque_runtime"},
    ("verify", str(ROOT / "tests/golden/hello/job.sh"), str(ROOT / "examples/hello.vjob.yaml")): {
        "rich",
        "libvirt",
        "cryptography",
        "vtorque_runtime",
    },
    ("lint", str(EXAMPLES[0])): {"jinja2", "rich", "libvirt", "cryptography", "pycdlib", "vtorque_runtime"},
    ("compile", str(EXAMPLES[0])): {
        "rich",
        "libvirt",
        "cryptography",
        "pycdlib",
        "vtorque_runtime",
        "importlib.metadata",
    },
}


@pytest.mark.parametrize("arguments", USES, ids=lambda words: words[0])
def test_a_command_imports_what_it_uses_only(arguments: tuple[str, ...], tmp_path: Path) -> None:
    program = (
        "import sys, vtorque_spec.cli as c\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sys.modules, file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": PATH}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    loaded = set(done.stderr.rpartition("LOADED ")[2].split())
    assert "vtorque_spec.cli" in loaded
    assert not loaded & USES[arguments]


def test_colour_on_a_terminal_only(bad: Path) -> None:
    assert "\x1b[" not in vtorque("lint", bad).stdout
    environment = {**os.environ, "PYTHONPATH": PATH, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "vtorque_spec", "lint", str(bad)]
    assert b"\x1b[31m\x1b[1merror[VT0102]:" in on_terminal(command, env=environment).terminal


def test_a_hostile_file_does_not_write_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.vjob.yaml"
    path.write_text(MINIMAL + 'vcpus: "\\e[2Jx"\n"k\\e]0;y\\a": 1\n')
    assert "\x1b" not in vtorque("lint", path).stdout
