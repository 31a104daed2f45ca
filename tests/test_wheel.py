"""What an installation holds: everything that is read at run time, nothing else, and no libvirt by default."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.spec.helpers import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_every_file_that_is_read_is_there(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for source, target in (("schemas", "vtorque_spec/_schemas"), ("docs/errors", "vtorque_spec/_errors")):
        expected = {path.relative_to(ROOT / source) for path in (ROOT / source).rglob("*") if path.is_file()}
        assert {Path(name).relative_to(target) for name in names if name.startswith(target + "/")} == expected
    for folder in ("vtorque_spec", "compilers/vtorque_compilers", "runtime/vtorque_runtime"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                inside = path.relative_to((ROOT / folder).parent)
                assert str(inside) in names


def test_nothing_else_is_there(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    (info,) = [top for top in tops if top.endswith(".dist-info")]
    (shared,) = [top for top in tops if top.endswith(".data")]
    assert tops == {"vtorque_spec", "vtorque_compilers", "vtorque_runtime", info, shared}
    for folder in ("hooks", "systemd"):
        inside = f"{shared}/data/share/vtorque/{folder}/"
        found = {name.removeprefix(inside) for name in wheel.namelist() if name.startswith(inside)}
        assert found == {path.name for path in (ROOT / "runtime" / folder).iterdir() if path.is_file()}


def test_the_front_end_needs_no_libvirt(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    needs = [line for line in wheel.read(name).decode().splitlines() if line.startswith("Requires-Dist:")]
    assert any("libvirt" in line for line in needs)
    assert all("extra ==" in line for line in needs if "libvirt" in line or "cryptography" in line)
