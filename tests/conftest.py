"""What every test may ask for, and the rule that nothing is skipped in CI."""

import os
from collections.abc import Generator, Iterator

import pytest

from tests.support.libvirtd import Libvirtd, running_libvirtd


@pytest.fixture(scope="session")
def libvirtd() -> Iterator[Libvirtd]:
    """qemu:///system answers; a daemon that was started for it ends with the session."""
    if os.geteuid() != 0:
        pytest.skip("a system libvirtd is started by root")
    with running_libvirtd() as daemon:
        yield daemon


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true a skip is a failure: what a machine lacks for a test is a fault of the CI."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` is never a default: what it writes is to be read before it is committed."""
    parser.addoption("--update-golden", action="store_true", help="write expected files anew; then read them")
