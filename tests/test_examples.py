"""Every example compiles to its golden tree, byte for byte; a missing or stale golden file fails."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.spec.helpers import CONTEXT, EXAMPLES, ROOT, document, site_of
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import check_file, compile_bundle, compile_script
from vtorque_spec.plan import Artifact

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = json.loads((ROOT / "schemas/vjob-1.schema.json").read_text())


def bundle_of(example: Path) -> dict[str, Artifact]:
    report = Report()
    at = site_of(example)
    found = check_file(example, at, CONTEXT, report)
    assert found is not None, report.items
    script = compile_script(found, "torque", report)
    assert script is not None, report.items
    files = compile_bundle(found, at, script, report)
    assert not report.items
    return {file.path: file for file in files}


def name_of(example: Path) -> str:
    return example.name.removesuffix(".vjob.yaml")


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_golden(example: Path, update_golden: bool) -> None:
    files = bundle_of(example)
    golden = GOLDEN / name_of(example)
    if update_golden:
        shutil.rmtree(golden, ignore_errors=True)
        for file in files.values():
            (golden / file.path).parent.mkdir(parents=True, exist_ok=True)
            (golden / file.path).write_text(file.text)
    kept = {str(path.relative_to(golden)): path.read_text() for path in golden.rglob("*") if path.is_file()}
    assert {path: file.text for path, file in files.items()} == kept


def test_there_is_a_golden_tree_for_each_example_and_no_other() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {name_of(example) for example in EXAMPLES}
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_examples_are_valid_by_the_published_schema(example: Path) -> None:
    data = document(example.read_text()).data
    assert not list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(data))


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_scripts_are_sound(example: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(bundle_of(example)["job.sh"].text)
    subprocess.run(["bash", "-n", script], check=True)
    subprocess.run(["shellcheck", script], check=True)


def test_no_private_key_is_in_any_golden_file() -> None:
    for path in GOLDEN.rglob("*"):
        assert not path.is_file() or "PRIVATE KEY" not in path.read_text()


def test_bytes_do_not_depend_on_the_environment(tmp_path: Path) -> None:
    """Another directory, locale, time zone, hash seed and user home give the same bundle."""
    example = ROOT / "examples/script.vjob.yaml"
    trees = []
    for number, changes in enumerate(({}, {"LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "HOME": "/"})):
        out = tmp_path / str(number)
        command = [sys.executable, "-m", "vtorque_spec", "compile", str(example), "-o", str(out)]
        path = os.pathsep.join(str(ROOT / part) for part in ("", "compilers", "runtime"))
        subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path, **changes})
        trees.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert trees[0] == trees[1]
