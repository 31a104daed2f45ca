"""What the domain compiler emitted against what libvirt kept of it."""

import contextlib
import functools
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from vtorque_compilers.domain import compile_domain
from vtorque_spec.plan import Guest

RNG = Path("/usr/share/libvirt/schemas/domain.rng")
QEMU = {"qemu": "http://libvirt.org/schemas/domain/qemu/1.0"}


def tree(guest: Guest) -> ET.Element:
    """Return the guest's domain."""
    return ET.fromstring(compile_domain(guest).text)


@functools.cache
def schema() -> etree.RelaxNG:
    """Return libvirt's schema of a domain."""
    if not RNG.exists():
        pytest.skip("libvirt's schemas are not installed")
    return etree.RelaxNG(etree.parse(RNG))


def missing(emitted: ET.Element, returned: ET.Element, path: str = "") -> list[str]:
    """Name every element, attribute and text of `emitted` that `returned` does not hold.

    Each emitted child takes the first returned child, among those not yet taken, that holds all of it.
    """
    path = f"{path}/{emitted.tag}"
    lost = [f"{path}/@{name}" for name, value in emitted.items() if returned.get(name) != value]
    if emitted.text and emitted.text.strip() and emitted.text != returned.text:
        lost.append(f"{path}: {emitted.text!r}, not {returned.text!r}")
    free = list(returned)
    for child in emitted:
        candidates = [other for other in free if other.tag == child.tag]
        match = next((other for other in candidates if not missing(child, other)), None)
        if match is not None:
            free.remove(match)
        else:
            nearest = min(
                (missing(child, other, path) for other in candidates), key=lambda found: len(found), default=None
            )
            lost += [f"{path}/{child.tag}"] if nearest is None else nearest
    return lost


def misplaced(emitted: ET.Element, returned: ET.Element, path: str = "") -> list[str]:
    """Name every element of `emitted` whose children stand in another order than libvirt prints."""
    path = f"{path}/{emitted.tag}"
    printed = list(dict.fromkeys(child.tag for child in returned))
    said = [printed.index(child.tag) for child in emitted if child.tag in printed]
    wrong = [] if said == sorted(said) else [path]
    for tag in {child.tag: None for child in emitted}:
        for child, other in zip(emitted.findall(tag), returned.findall(tag), strict=False):
            wrong += misplaced(child, other, path)
    return wrong


@contextlib.contextmanager
def defined(uri: str, text: str) -> Iterator[ET.Element]:
    """Define the domain at `uri` and yield what libvirt keeps of it."""
    libvirt: Any = pytest.importorskip("libvirt")
    connection = libvirt.open(uri)
    try:
        domain = connection.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        try:
            yield ET.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        finally:
            domain.undefine()
    finally:
        connection.close()


def lost_in_the_test_driver(text: str) -> list[str]:
    """Name what libvirt's test driver does not keep of a domain."""
    emitted = ET.fromstring(text)
    for commandline in emitted.findall("qemu:commandline", QEMU):
        emitted.remove(commandline)  # the test driver drops it; qemu:///system keeps it
    with defined("test:///default", text) as returned:
        return missing(emitted, returned)


def lost_in_the_qemu_driver(text: str) -> list[str]:
    """Name what qemu:///system does not keep of a domain, or prints in another order."""
    emitted = ET.fromstring(text)
    with defined("qemu:///system", text) as returned:
        machine = returned.find("os/type")
        assert machine is not None
        said = emitted.find("os/type[@machine]")
        assert said is not None
        alias = str(said.get("machine"))
        assert str(machine.get("machine")).startswith({"q35": "pc-q35-", "pc": "pc-i440fx-"}[alias])  # with a version
        machine.set("machine", alias)
        return missing(emitted, returned) + misplaced(emitted, returned)
