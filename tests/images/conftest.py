"""A site and a store of their own for the commands of `vtorque image`."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import vtorque_runtime
from tests.images.helpers import Run, add
from tests.test_invalid import INVALID
from vtorque_runtime.images import store
from vtorque_spec.cli import group
from vtorque_spec.driver import of_fault
from vtorque_spec.fault import Fault
from vtorque_spec.render import text as findings_text


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store; there is nothing in it, and there are no jobs."""
    monkeypatch.setattr(store, "SYSTEM_STORE", tmp_path / "store")
    monkeypatch.setattr(vtorque_runtime, "SYSTEM_BASE", str(tmp_path / "base"))
    return tmp_path / "store"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with no image but the one that its policy may name."""
    shutil.copytree(INVALID / "sites" / "plain", tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def run(images: Path, site: Path) -> Run:
    def call(*words: str | Path) -> Result:
        """Faults are printed as the program prints them."""
        try:
            result = CliRunner().invoke(group, ["image", *map(str, words), "--site", str(site)], standalone_mode=False)
            if isinstance(result.exception, Fault):
                raise result.exception
        except Fault as fault:
            result.output_bytes = findings_text([of_fault(fault)], {}).encode()
            result.exit_code = 1
            return result
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            name = type(result.exception).__name__
            assert name in ("UsageError", "Exit", "BadParameter", "NoSuchOption"), result.exception
            result.exit_code = 2 if name != "Exit" else 1
            result.output_bytes += str(result.exception).encode()
        elif isinstance(result.return_value, int):
            result.exit_code = result.return_value
        return result

    return call


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """Make the files of an image in a directory of its own; return the disk."""

    def make(name: str, *, size: str = "64M", osv: bool = False, kernel: bool = True) -> Path:
        home = tmp_path / "made" / name
        home.mkdir(parents=True)
        if osv:
            sector = bytearray(512)
            sector[0x1B8:0x1BB] = b"VSO"
            sector[510:512] = b"\x55\xaa"
            (home / "disk.img").write_bytes(bytes(sector) + name.encode().ljust(2**20 - 512, b"\0"))
            return home / "disk.img"
        disk = home / "disk.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, size], check=True)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {len(name) % 250 + 1} 1M 64k", disk], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        if kernel:
            (home / "vmlinuz-6.1").write_bytes(bytes(0x202) + b"HdrS" + name.encode())
            (home / "initrd.img-6.1").write_bytes(b"initrd")
        return disk

    return make


@pytest.fixture
def two_revisions(run: Run, made: Callable[..., Path]) -> None:
    """The image rocky-9 has the revisions 1 and 2."""
    add(run, "rocky-9", made("rocky"))
    assert run("update", "rocky-9", made("rocky-two"), "--revision", "2").exit_code == 0
