"""A site, a job and an image whose guests do nothing: a kernel that halts the CPU as soon as it is started."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from measure import BIN

from vtorque_runtime.images.provenance import Provenance
from vtorque_runtime.images.store import SYSTEM_STORE, describe, publish, staging
from vtorque_spec.plan import ImageFiles

NAME = "vtorque-bench-idle"
CATALOGUE = """\
name: {name}
description: nothing runs in it
guest: linux
arch: x86_64
sha256: {sha256}
min_memory: 64MiB
min_disk: 64MiB
cmdline: console=ttyS0
"""
SITE = """\
apiVersion: vtorque-site/v1
name: bench
batch: openpbs
hypervisor: {hypervisor}
min_uid: 1000
node_classes:
  generic: {{cpus: 64, memory: 256GiB, vcpu: thread}}
mounts: {{}}
networks:
  default: {network}
"""
JOB = """\
apiVersion: vtorque/v1
name: bench
image: {image}
batch: {{nodes: {nodes}, exclusive: true}}
vms_per_node: {vms}
vcpus: 1
memory: 64MiB
root_disk: {{size: 64MiB}}
run: "true"
"""


def write_site(directory: Path, image: ImageFiles, hypervisor: str, network: str) -> None:
    """Write a site with this image and the one network, and a cluster key."""
    (directory / "images").mkdir(parents=True)
    (directory / "site.yaml").write_text(SITE.format(hypervisor=hypervisor, network=network))
    (directory / f"images/{NAME}.yaml").write_text(CATALOGUE.format(name=NAME, sha256=image.sha256))
    key = directory / "cluster.key"
    key.touch(mode=0o600)
    key.write_text(os.urandom(32).hex() + "\n")


def script(site: Path, nodes: int, vms: int) -> str:
    """Return the batch script of a job with so many VMs on each of its nodes."""
    path = site.parent / "bench.vjob.yaml"
    path.write_text(JOB.format(image=NAME, nodes=nodes, vms=vms))
    return subprocess.check_output([str(BIN / "vtorque"), "compile", str(path), "--site", str(site)], text=True)


@contextlib.contextmanager
def stored() -> Iterator[ImageFiles]:
    """Keep the image in the machine's store for as long as the block lasts. For root."""
    image = put(SYSTEM_STORE)
    try:
        yield image
    finally:
        shutil.rmtree(Path(image.disk).parent)


def put(store: Path) -> ImageFiles:
    """Put the image into a store."""
    with staging(store) as directory:
        disk = ["qemu-img", "create", "-q", "-f", "qcow2", str(directory / "root.qcow2"), "64M"]
        subprocess.run(disk, check=True)
        (directory / "vmlinuz").write_bytes(kernel())
        (directory / "initrd.img").write_bytes(bytes(512))
        (directory / "packages.txt").write_text("")
        (directory / "contents.txt").write_text("")
        return publish(directory, describe(directory, NAME, created=0, provenance=Provenance("", "", (), (), ())))


def kernel() -> bytes:
    """A bzImage (the kernel's Documentation/arch/x86/boot.rst) of a boot sector, a setup sector and an empty one."""
    image = bytearray(3 * 512)
    image[0x1F1] = 1  # sectors of the setup
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x200:0x202] = b"\xeb\x6a"  # jmp 0x26c: here the setup starts, in real mode
    image[0x202:0x208] = b"HdrS\x02\x02"  # version 2.02 of the protocol, the first with this command line
    image[0x211] = 1  # loaded above 1 MiB
    image[0x26C:0x270] = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to the hlt
    return bytes(image)
