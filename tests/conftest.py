"""What every test may ask for, and the rule that nothing is skipped in CI."""

import fcntl
import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from tests.boots import installed_for_users
from tests.spec.helpers import ROOT
from tests.support.libvirtd import Libvirtd, running_libvirtd
from tests.support.slurm import Slurm, missing_programs, running_slurm
from tests.support.slurm_conf import Cluster

MACHINE_LOCK = Path(tempfile.gettempdir()) / f"vtorque-tests-{os.geteuid()}.lock"

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what it puts behind with SIGINT ignored


@pytest.fixture(scope="session")
def libvirtd() -> Iterator[Libvirtd]:
    """qemu:///system answers; a daemon that was started for it ends with the session."""
    if os.geteuid() != 0:
        pytest.skip("a system libvirtd is started by root")
    with running_libvirtd() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def installed_programs() -> Iterator[Path]:
    """The directory of the programs that a wheel of this project installs, where ordinary users can run them."""
    with installed_for_users(ROOT) as found:
        yield found


@pytest.fixture(scope="module")
def start_slurm() -> Iterator[Callable[[Cluster], Slurm]]:
    """Start a Slurm like this; it ends with the module."""
    if os.geteuid() != 0:
        pytest.skip("slurmd is started by root")
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)}")
    with ExitStack() as stack:
        yield lambda cluster: stack.enter_context(running_slurm(cluster))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true a skip is a failure: what a machine lacks for a test is a fault of the CI."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` is never a default: what it writes is to be read before it is committed."""
    parser.addoption("--update-golden", action="store_true", help="write expected files anew; then read them")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are to be written anew."""
    return bool(request.config.getoption("--update-golden"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything that touches a libvirt daemon is marked `alone`: the daemon is the machine's, and so are its names.
    So is what has a Slurm, whose nodes need the machine to answer in time.
    """
    for item in items:
        if any(item.get_closest_marker(name) for name in ("libvirt", "boot", "session", "slurm")):
            item.add_marker(pytest.mark.alone)


@pytest.fixture(autouse=True)
def _machine(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test marked `alone` has the machine's libvirt to itself, whatever else is tested on the machine meanwhile."""
    if request.node.get_closest_marker("alone") is None:
        yield
        return
    with MACHINE_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def count_boots(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Tell the summary of a real boot, and whether it was a second try."""

    def count(*, retried: bool = False) -> None:
        record_property("retry" if retried else "boot", 1)

    return count


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """One line with what passed, how many guests booted, and how many boots were tried again."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    told = [name for report in reports if report.when == "call" for name, _ in report.user_properties]
    passed = len(terminalreporter.stats.get("passed", []))
    boots, retries = told.count("boot"), told.count("retry")
    terminalreporter.write_line(f"vtorque: {passed} passed, {boots + retries} boots, {retries} of them retries")
