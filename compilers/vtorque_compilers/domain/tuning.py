"""Processors and memory of the domain. Element names: https://libvirt.org/formatdomain.html#cpu-tuning"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from xml.etree.ElementTree import Element

from vtorque_compilers.domain.xml import element
from vtorque_spec.plan import Machine, Pins

KIB = 1024


def memory(machine: Machine) -> Element:
    """`<memory>`, in the unit in which libvirt keeps it."""
    return element("memory", str(machine.memory_bytes // KIB), unit="KiB")


def memory_backing(machine: Machine) -> Iterator[Element]:
    """`<memoryBacking>`: a virtiofs daemon works on the guest's memory itself, so that must be shared."""
    if machine.filesystems:
        yield element("memoryBacking", element("source", type="memfd"), element("access", mode="shared"))


def vcpu(machine: Machine) -> Element:
    """`<vcpu>`: `static`, so that libvirt never asks numad for another place."""
    return element("vcpu", str(machine.vcpus), placement="static")


def cpu(machine: Machine) -> Element:
    """`<cpu>`: the host's own under KVM. Emulating AVX costs more than it gains, so QEMU emulates a CPU before it."""
    if machine.virt == "kvm":
        return element("cpu", mode="host-passthrough")
    return element("cpu", element("model", "Nehalem", fallback="forbid"), mode="custom", match="exact")


def cputune(pins: Pins) -> Iterator[Element]:
    """`<cputune>`, where the plan pins anything."""
    children = [element("vcpupin", vcpu=str(n), cpuset=cpuset(cpus)) for n, cpus in enumerate(pins.vcpus)]
    if pins.emulator:
        children.append(element("emulatorpin", cpuset=cpuset(pins.emulator)))
    if children:
        yield element("cputune", *children)


def cpuset(cpus: Iterable[int]) -> str:
    """Return CPU numbers as libvirt prints them: ascending, neighbours as a range (`0-3,8`)."""
    runs = [list(run) for _, run in groupby(enumerate(sorted(set(cpus))), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)
