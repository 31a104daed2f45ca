"""Processors of the domain and where its threads run. Element names: https://libvirt.org/formatdomain.html#cpu-tuning"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from vtorque_compilers.domain.memory import numa
from vtorque_compilers.domain.xml import element, numbers
from vtorque_spec.plan import CpuTopology, Machine, Pins


def vcpu(machine: Machine) -> Element:
    """`<vcpu>`: `static`, so that libvirt never asks numad for another place."""
    cpuset = {"cpuset": numbers(machine.pins.cpuset)} if machine.pins.cpuset else {}
    return element("vcpu", str(machine.vcpus), placement="static", **cpuset)


def iothreads(pins: Pins) -> Iterator[Element]:
    """`<iothreads>`: how many; libvirt numbers them from 1."""
    if pins.iothreads:
        yield element("iothreads", str(len(pins.iothreads)))


def cputune(pins: Pins) -> Iterator[Element]:
    """`<cputune>`, where the plan pins anything."""
    children = [element("vcpupin", vcpu=str(n), cpuset=numbers(cpus)) for n, cpus in enumerate(pins.vcpus)]
    if pins.emulator:
        children.append(element("emulatorpin", cpuset=numbers(pins.emulator)))
    children += [
        element("iothreadpin", iothread=str(n), cpuset=numbers(cpus)) for n, cpus in enumerate(pins.iothreads, 1)
    ]
    if children:
        yield element("cputune", *children)


def cpu(machine: Machine) -> Element:
    """`<cpu>`: the host's own under KVM. Emulating AVX costs more than it gains, so QEMU emulates a CPU before it."""
    parts = (topology(machine.topology), *numa(machine.memory.cells))
    if machine.virt == "kvm":
        return element("cpu", *parts, mode="host-passthrough")
    return element("cpu", element("model", "Nehalem", fallback="forbid"), *parts, mode="custom", match="exact")


def topology(topology: CpuTopology) -> Element:
    """`<topology>`, always said: without it QEMU makes each vCPU a socket, and a guest's programs believe that."""
    return element("topology", sockets=str(topology.sockets), cores=str(topology.cores), threads=str(topology.threads))
