"""The command line in a root disk: in the overlay and nowhere else, as OSv's boot sector reads it."""

import subprocess
from pathlib import Path

import pytest

from vtorque_runtime import disks
from vtorque_runtime.osv.disk import write_command_line
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Disk


@pytest.fixture
def overlay(tmp_path: Path) -> Disk:
    base = tmp_path / "base.raw"
    base.write_bytes(b"\xaa" * 65536)
    disk = Disk("vda", str(tmp_path / "root.qcow2"), "qcow2", False, str(base), "raw", None, None)
    disks.make_overlay(disk, 1024**2)
    return disk


def content(overlay: Disk) -> bytes:
    flat = Path(overlay.file).with_suffix(".flat")
    subprocess.run(["qemu-img", "convert", "-O", "raw", overlay.file, flat], check=True)
    return flat.read_bytes()


@pytest.mark.parametrize("length", [0, 1, 511, 512, 32000])
def test_it_is_where_the_boot_sector_reads_it(overlay: Disk, length: int) -> None:
    line = ("--verbose /t \u00e9\n\t" * 4000).encode()[:length].decode("utf-8", "ignore")
    write_command_line(overlay, line)
    found = content(overlay)
    assert found[512:].split(b"\0")[0] == line.encode()
    written = -(-(len(line.encode()) + 1) // 512) * 512
    assert found[:512] + found[512 + written : 65536] == b"\xaa" * (65536 - written)
    assert Path(overlay.backing or "").read_bytes() == b"\xaa" * 65536
    assert sorted(path.name for path in Path(overlay.file).parent.iterdir()) == ["base.raw", "root.flat", "root.qcow2"]


def test_a_disk_that_cannot_be_written(overlay: Disk) -> None:
    Path(overlay.file).write_bytes(b"no qcow2")
    with pytest.raises(Fault, match="VT0914: qemu-io could not write") as caught:
        write_command_line(overlay, "/t")
    assert "qcow2" in (caught.value.detail or "")
