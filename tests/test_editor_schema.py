"""The schema of job files with a site merged in: it refuses nothing that compiles, and an editor shows the site."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.editor.client import SERVER, Editor
from tests.spec.helpers import EXAMPLES, MINIMAL, ROOT, check, document, site
from vtorque_spec.policy.editor.quantities import duration_pattern, size_pattern
from vtorque_spec.policy.editor.schema import site_vjob_schema_text
from vtorque_spec.units import DURATION_UNITS, SIZE_UNITS, parse_duration, parse_size

LAKE = ROOT / "tests/editor/site"
SITES = [
    ROOT / "schemas/local",
    LAKE,
    *(ROOT / "tests/invalid/sites" / name for name in ("cluster", "narrow", "plain")),
]


@cache
def validator(directory: Path) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(site_vjob_schema_text(site(directory))))


@pytest.mark.parametrize("directory", SITES, ids=lambda path: path.name)
def test_a_job_that_compiles_fits(directory: Path) -> None:
    validator(directory).check_schema(validator(directory).schema)
    compiled = []
    for example in EXAMPLES:
        checked, _ = check(example.read_text(), where=example.parent, at=site(directory))
        if checked is not None:
            compiled.append(example.name)
            assert not list(validator(directory).iter_errors(document(example.read_text()).data)), example.name
    assert "hello.vjob.yaml" in compiled


def job(line: str) -> str:
    """The smallest job with a line more, or with another in its place."""
    key = line.partition(":")[0]
    return "".join(old for old in MINIMAL.splitlines(keepends=True) if not old.startswith(key + ":")) + line + "\n"


REFUSED = [
    "name: Hello", "image: old", "image: {name: old}", "image: old:1", "image: debian-13", "vcpus: 15",
    "memory: 25GiB", "memory: 24577MiB", "memory: 128MiB", "hugepages: 1GiB", "iocm: true", "iocm: {max_cores: 2}",
    "mounts: [attic]", "mounts: [{name: attic}]", "mounts: [hom]", "mounts: [home, data, {name: data, target: /more}]",
    "network: internal", "network: {name: internal}", "batch: {queue: medium}", "batch: {walltime: '24:00:01'}",
    "batch: {walltime: 2d}", "batch: {account: x}", "root_disk: {size: 50GiB}",
]  # fmt: skip
"""Lines that rules refuse for whomever: the schema does, and so does the compiler."""
FINE = [
    "name: hello", "image: foam", "image: {name: foam}", "image: foam@sha256:" + "2" * 64, "vcpus: 14",
    "memory: 24GiB", "memory: 256 MiB", "memory: 25GB", "hugepages: none", "iocm: false", "mounts: [home]",
    "mounts: [{name: data}, home]", "mounts: []", "network: default", "network: {name: default}",
    "batch: {queue: short}", "batch: {walltime: 1d}", "batch: {walltime: '24:00:00'}",
    "batch: {account: x, queue: long}", "batch: {join: true}", "root_disk: {size: 49GiB}",
    "root_disk: {backing: shared}",
]  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_what_the_site_forbids_does_not_fit(line: str) -> None:
    text = job(line)
    assert check(text, at=site(LAKE))[0] is None
    assert list(validator(LAKE).iter_errors(document(text).data))


@pytest.mark.parametrize("line", FINE)
def test_what_the_site_allows_fits(line: str) -> None:
    text = job(line)
    checked, report = check(text, at=site(LAKE))
    assert checked is not None, report.items
    assert not list(validator(LAKE).iter_errors(document(text).data))


def test_only_what_always_holds_is_refused() -> None:
    """A rule under a condition, a warning, and a required member that has a default: told, not checked."""
    for line in ("vcpus: 14", "batch: {nodes: 3}", "batch: {}"):
        assert not list(validator(LAKE).iter_errors(document(job(line)).data)), line
    said = validator(LAKE).schema["properties"]  # type: ignore[index] # the library's type knows booleans too
    vcpus = "virtual CPUs per VM\nHere: 7 unless said; at most 14\nFor group students: 2 unless said; at most 4"
    assert said["vcpus"]["description"] == vcpus
    assert said["vcpus"]["default"] == 7
    assert "at most 2 (a warning)" in said["batch"]["properties"]["nodes"]["description"]


def test_the_same_text_each_time() -> None:
    texts = {_printed("--site", LAKE, PYTHONHASHSEED=seed) for seed in ("1", "2")}
    assert texts == {site_vjob_schema_text(site(LAKE))}


def test_without_a_site_it_is_the_published_one() -> None:
    assert _printed(VTORQUE_SITE=str(LAKE)) == (ROOT / "schemas/vjob-1.schema.json").read_text()


def test_importable_without_jsonschema() -> None:
    program = "import sys; sys.modules['jsonschema'] = None; import vtorque_spec.policy.editor.schema"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_only_the_language_of_jobs_has_a_site() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vtorque_spec", "schema", "site", "--site", LAKE],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--site goes with `vtorque schema vjob`" in done.stderr


def _printed(*arguments: str | Path, **environment: str) -> str:
    command = [sys.executable, "-m", "vtorque_spec", "schema", "vjob", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, **environment}
    )
    return done.stdout


# --- patterns of quantities -------------------------------------------------------------------------------------------


def near(bounds: tuple[int, int | None]) -> st.SearchStrategy[int]:
    edges = [bound for bound in bounds if bound is not None]
    return st.one_of(*(st.integers(max(1, edge - 3), edge + 3) for edge in edges), st.integers(1, 10**12))


BOUNDS = st.tuples(st.integers(1, 10**12), st.none() | st.integers(1, 10**12))


@given(st.data(), BOUNDS, st.sampled_from(sorted(SIZE_UNITS)), st.sampled_from(["", " "]))
def test_a_size_matches_if_it_lies_between(
    data: st.DataObject, bounds: tuple[int, int | None], unit: str, space: str
) -> None:
    low, high = bounds
    number = max(1, data.draw(near(bounds)) // SIZE_UNITS[unit] + data.draw(st.integers(0, 1)))
    text = f"{number}{space}{unit}"
    assert bool(re.search(size_pattern(low, high), text)) == (low <= parse_size(text) <= (high or float("inf")))


SECONDS = st.tuples(st.integers(1, 40_000_000), st.none() | st.integers(1, 40_000_000))


@given(st.data(), SECONDS, st.sampled_from(["clock", *DURATION_UNITS]))
def test_a_duration_matches_if_it_lies_between(data: st.DataObject, bounds: tuple[int, int | None], unit: str) -> None:
    low, high = bounds
    seconds = data.draw(near(bounds))
    if unit == "clock":
        hours = data.draw(st.integers(1, 4))
        seconds = max(1, seconds % (3600 * 10**hours))
        text = f"{seconds // 3600:0{hours}}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    else:
        text = f"{min(10**9 - 1, max(1, seconds // DURATION_UNITS[unit]))}{unit}"
    assert bool(re.search(duration_pattern(low, high), text)) == (low <= parse_duration(text) <= (high or float("inf")))


# --- the real language server -----------------------------------------------------------------------------------------


@contextmanager
def running(workspace: Path, directory: Path) -> Iterator[Editor]:
    if not SERVER.exists() or shutil.which("node") is None:
        pytest.skip("no language server here: npm ci --prefix tests/editor")
    schema = workspace / "vjob.schema.json"
    schema.write_text(site_vjob_schema_text(site(directory)))
    with Editor(workspace, {schema.as_uri(): "*.vjob.yaml"}) as server:
        yield server


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    with running(tmp_path_factory.mktemp("jobs"), LAKE) as server:
        yield server


@pytest.mark.editor
def test_completion_offers_the_images_of_the_site(editor: Editor) -> None:
    uri = editor.open("image.vjob.yaml", "apiVersion: vtorque/v1\nname: hello\nimage: \n")
    found = editor.completion(uri, 2, 7)
    assert set(found) == {"debian-12", "foam"}
    assert found["foam"]["documentation"].startswith("Debian 12 with OpenFOAM (needs 256MiB of memory")


@pytest.mark.editor
def test_completion_offers_revisions_but_the_withdrawn(tmp_path: Path) -> None:
    with running(tmp_path, ROOT / "tests/invalid/sites/catalogue") as server:
        found = server.completion(server.open("a.vjob.yaml", "name: hello\nimage: \n"), 1, 7)
        assert set(found) == {"debian-11", "debian-12", *(f"debian-12:2026-{month}" for month in (8, 9, 11))}
        assert found["debian-12:2026-9"]["documentation"].endswith("; deprecated, until 2099-12-31")
        (wrong,) = server.diagnostics(server.open("b.vjob.yaml", MINIMAL.replace("debian-12", "debian-12:2026-10")))
        assert '"debian-12", "debian-12:2026-11", "debian-12:2026-9"' in wrong["message"]


@pytest.mark.editor
def test_completion_of_keys_tells_the_limits(editor: Editor) -> None:
    found = editor.completion(editor.open("keys.vjob.yaml", MINIMAL + "\n"), 4, 0)
    assert "Here: 7 unless said; at most 14\nFor group students: 2" in found["vcpus"]["documentation"]
    assert found["vcpus"]["insertText"] == "vcpus: ${1:7}"
    assert "at most 24GiB" in found["memory"]["documentation"]
    assert "walltime" not in found
    assert not {"hugepages", "iocm"} & set(found), "what is switched off is not offered"


@pytest.mark.editor
def test_completion_of_mounts_networks_and_queues(editor: Editor) -> None:
    lines = ["mounts:", "  - ", "network: ", "batch:", "  queue: "]
    uri = editor.open("names.vjob.yaml", MINIMAL + "\n".join(lines) + "\n")
    mounts = editor.completion(uri, 5, 4)
    assert {"home", "data"} <= set(mounts)
    assert not {"attic"} & set(mounts)
    assert mounts["data"]["documentation"] == "/srv/data at /data, read-only"
    assert set(editor.completion(uri, 6, 9)) == {"default"}
    assert set(editor.completion(uri, 8, 9)) == {"short", "long"}


@pytest.mark.editor
def test_hover_tells_default_and_maximum(editor: Editor) -> None:
    text = editor.hover(editor.open("hover.vjob.yaml", MINIMAL + "memory: 1GiB\n"), 4, 2)
    assert "memory per VM" in text
    assert "4GiB unless said" in text
    assert "at most 24GiB (LAKE012, memory ... is more than the 24GiB of a job)" in text


DIAGNOSTICS = {
    "vcpus: 15": "Value is above the maximum of 14.",
    "image: old": "the images that are allowed at lake: debian-12 or foam",
    "image: old@sha256:" + "3" * 64: "the images that are allowed at lake: debian-12 or foam",
    "memory: 32GiB": "memory … is more than the 24GiB of a job (LAKE012)",
    "hugepages: 1GiB": "`hugepages` is switched off at this site",
    "iocm: {max_cores: 2}": "`iocm` is switched off at this site",
    "mounts: [attic]": "the attic is closed (LAKE020); the mounts that are allowed at lake: data or home",
    "network: internal": "the networks that are allowed at lake: default",
    "batch: {queue: medium}": 'Value is not accepted. Valid values: "short", "long".',
    "batch: {walltime: 2d}": "`batch.walltime` is to be at most 24:00:00",
    "root_disk: {size: 50GiB}": "`root_disk.size` is to be less than 50GiB",
    "vcpu: 2": "Property vcpu is not allowed.",
}


@pytest.mark.editor
@pytest.mark.parametrize("line", DIAGNOSTICS)
def test_diagnostics_stand_where_the_fault_is(editor: Editor, line: str) -> None:
    text = job(line)
    found = editor.diagnostics(editor.open(f"bad{[*DIAGNOSTICS].index(line)}.vjob.yaml", text))
    assert [item["message"] for item in found] == [DIAGNOSTICS[line]]
    assert found[0]["range"]["start"]["line"] == text.splitlines().index(line)
    assert found[0]["source"] == "yaml-schema: vtorque job at lake"


@pytest.mark.editor
@pytest.mark.parametrize("line", FINE)
def test_no_diagnostics_of_a_good_line(editor: Editor, line: str) -> None:
    assert editor.diagnostics(editor.open(f"fine{FINE.index(line)}.vjob.yaml", job(line))) == []


@pytest.mark.editor
def test_no_diagnostics_of_the_examples(editor: Editor) -> None:
    """But for what the site switches off, or has not."""
    images = "the images that are allowed at lake: debian-12 or foam"
    own = [f"Property {name} is not allowed." for name in ("cmdline", "initrd", "kernel", "disk")]
    refused = {
        "\niocm:": ["`iocm` is switched off at this site"],
        "\nimage: debian-12-mpi": [images],
        "\n  disk: ": [images, *own],
    }
    for path in (path for path in EXAMPLES if "--site examples/site" not in path.read_text()):
        found = [item["message"] for item in editor.diagnostics(editor.open(path.name, path.read_text()))]
        expected = [text for words, texts in refused.items() if words in path.read_text() for text in texts]
        assert found == expected, path.name


@pytest.mark.editor
def test_a_line_at_the_top_of_the_file_names_the_schema_too(editor: Editor) -> None:
    """A file that no setting is about."""
    schema = (editor.workspace / "vjob.schema.json").as_uri()
    text = f"# yaml-language-server: $schema={schema}\n" + job("vcpus: 15")
    assert [item["message"] for item in editor.diagnostics(editor.open("modeline.yaml", text))] == [
        DIAGNOSTICS["vcpus: 15"]
    ]
    assert editor.diagnostics(editor.open("unrelated.yaml", job("vcpus: 15"))) == []
