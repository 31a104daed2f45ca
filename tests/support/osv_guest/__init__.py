"""A stand-in for an OSv guest: a small kernel that takes its command line and speaks on its console as OSv does.

Like OSv it boots in both ways: QEMU loads `kernel`, or the firmware reads `disk`, which has the command line at byte
512. What it can and can't do is in kernel.c.
"""

import contextlib
import hashlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vtorque_runtime.images.adding import Source, staged
from vtorque_runtime.images.store import SYSTEM_STORE

HERE = Path(__file__).parent
KERNEL_SECTORS = 64
_FLAGS = ["-m32", "-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-pic", "-fno-stack-protector"]
_LINK = ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments"]
_DISK_BYTES = 1024**2
IMAGES = {"kernel": "vttest-osv-kernel", "disk": "vttest-osv-disk"}
"""Those that `published` makes, by the way in which they boot. The one that boots its disk reads a seed."""
_ENTRY = """\
name: {name}
description: a stand-in for OSv
guest: osv
arch: x86_64
capabilities: [virtiofs, nfs]
sha256: {sha256}
format: raw
min_memory: 64MiB
min_disk: 1MiB
osv: {{boot: {boot}, cloud_init: {cloud_init}}}
"""


@dataclass(frozen=True)
class OsvGuest:
    """Both forms of the same kernel."""

    kernel: Path
    disk: Path


def build(directory: Path) -> OsvGuest:
    """Compile it into `directory`; gcc is what the project itself needs."""
    kernel, flat, boot = directory / "loader.elf", directory / "loader.bin", directory / "boot.bin"
    script = f"-Wl,-T,{HERE / 'kernel.ld'}"
    _call("gcc", *_FLAGS, "-mgeneral-regs-only", *_LINK, script, "-o", kernel, HERE / "kernel.c")
    _call("objcopy", "-O", "binary", kernel, flat)
    _call("objcopy", "-I", "elf32-i386", "-O", "elf64-x86-64", kernel)  # the form of OSv's own
    sectors = f"-DKERNEL_SECTORS={KERNEL_SECTORS}"
    code = ["-Wl,--oformat=binary", "-Wl,-Ttext=0x7c00", "-Wl,-e,boot"]
    _call("gcc", "-m32", sectors, *_LINK, *code, "-o", boot, HERE / "boot.S")
    assert boot.stat().st_size == 512
    assert flat.stat().st_size <= KERNEL_SECTORS * 512
    disk = directory / "disk.raw"
    with disk.open("wb") as file:
        file.write(boot.read_bytes())
        file.seek(128 * 512)
        file.write(flat.read_bytes())
        file.truncate(_DISK_BYTES)
    return OsvGuest(kernel, disk)


@contextlib.contextmanager
def published(site: Path) -> Iterator[None]:
    """Put both images into the machine's store and their entries into the catalogue of `site`; take the images out."""
    with contextlib.ExitStack() as stack:
        made = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        guest = build(made)
        for boot, name in IMAGES.items():
            disk = made / f"{boot}.raw"
            disk.write_bytes(guest.disk.read_bytes() + boot.encode().ljust(512))  # of two images, two digests
            sha256 = hashlib.sha256(disk.read_bytes()).hexdigest()
            cloud_init = str(boot == "disk").lower()
            entry = _ENTRY.format(name=name, sha256=sha256, boot=boot, cloud_init=cloud_init)
            (site / f"images/{name}.yaml").write_text(entry)
            source = Source(name, disk, "raw", guest.kernel if boot == "kernel" else None, None)
            with staged(SYSTEM_STORE, source, created=int(time.time()), progress=lambda *_: None) as image:
                image.publish()
                stack.callback(image.withdraw)
        yield


def _call(*argv: str | Path) -> None:
    subprocess.run(argv, check=True)
