"""What the examples' jobs compile to is taken by libvirt too."""

from pathlib import Path

import pytest
from lxml import etree

from tests.compilers.domains import lost_in_the_qemu_driver, lost_in_the_test_driver, schema
from tests.spec.helpers import EXAMPLES, checked, site_of
from tests.support.libvirtd import Libvirtd
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import compile_bundle
from vtorque_spec.plan import Artifact

ANY_EXAMPLE = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name.split(".")[0])


def domains_of(path: Path) -> list[str]:
    """Return the domains that an example gives on a node of its site."""
    report = Report()
    at = site_of(path)
    found = checked(path.read_text(), where=path.parent, at=at)
    files = compile_bundle(found, at, Artifact("job.sh", ""), report)
    assert report.items == []
    found = [file.text for file in files if file.path.endswith("/domain.xml")]
    assert found
    return found


@ANY_EXAMPLE
def test_valid_by_libvirts_schema(path: Path) -> None:
    for text in domains_of(path):
        schema().assertValid(etree.fromstring(text))


@pytest.mark.libvirt
@ANY_EXAMPLE
def test_the_test_driver_keeps_everything(path: Path) -> None:
    for text in domains_of(path):
        assert lost_in_the_test_driver(text) == []


@pytest.mark.libvirt
@pytest.mark.root
@ANY_EXAMPLE
def test_the_qemu_driver_keeps_everything(path: Path, libvirtd: Libvirtd) -> None:
    for text in domains_of(path):
        assert lost_in_the_qemu_driver(text) == []
