"""Progress for people: a bar on a terminal, plain lines elsewhere; always on standard error."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vtorque_spec import render
from vtorque_spec.cli.common import print_findings
from vtorque_spec.fault import Fault

if TYPE_CHECKING:
    from rich.status import Status

    from vtorque_runtime.images.build import Progress as Step
    from vtorque_spec.site.host import Progress as FileProgress

T = TypeVar("T")

FEW = 50
"""So many results come without a bar, and a bar has as many steps or a few more."""

LARGE_BYTES = 4 * 2**30
"""A file that takes some seconds to read."""


@contextmanager
def build_steps() -> Iterator[Callable[["Step"], None]]:
    """Show the steps of an image's build."""
    if not sys.stderr.isatty():
        yield _plain_steps()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("image", total=1.0)

        def show(step: "Step") -> None:
            if step.total == 0:
                bar.console.print(f"vtorque: {step.text}", markup=False, highlight=False)
                return
            done = (step.step - 1 + (step.fraction or 0.0)) / step.total
            bar.update(task, description=f"{step.step}/{step.total} {step.text}", completed=done)

        yield show
        bar.update(task, completed=1.0)


@contextmanager
def file_bars() -> Iterator["FileProgress"]:
    """Show a bar for each file that is read, on a terminal; elsewhere a line for each that is large."""
    if not sys.stderr.isatty():
        yield _plain_files()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show_read(name: str, done: int, size: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name)
            bar.update(tasks[name], completed=done, total=size)

        yield show_read


def bar(results: Iterable[T], total: int) -> Iterator[T]:
    """Pass `results` on, and show on a terminal how many of `total` there were; nothing where they are few."""
    if total <= FEW or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    columns = (BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as shown:
        task = shown.add_task("", total=total)  # no thread refreshes it: worker processes are forked meanwhile
        for number, result in enumerate(results, 1):
            if number % (total // FEW) == 0:
                shown.update(task, completed=number, refresh=True)
            yield result


def _plain_files() -> "FileProgress":
    told: set[str] = set()

    def show_read(name: str, done: int, size: int) -> None:
        if size >= LARGE_BYTES and name not in told:
            told.add(name)
            text = f"reads {name}, {-(-size // 2**30)} GiB: a second or so for each"
            click.echo(f"vtorque: {render.printable(text)}", err=True)

    return show_read


def _plain_steps() -> Callable[["Step"], None]:
    last: list[str] = []

    def show(step: "Step") -> None:
        line = f"vtorque: {step.step}/{step.total} {step.text}" if step.total else f"vtorque: {step.text}"
        if line not in last:
            last[:] = [line]
            click.echo(line, err=True)

    return show


class Phases:
    """What `vtorque run` shows while the guest boots: a line that changes on a terminal, a line per phase elsewhere."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._status: Status | None = None

    def phase(self, name: str, guest: str = "") -> None:
        """The job, or a guest of it, entered a phase; once its own text runs, the terminal is the job's."""
        text = f"{guest}{': ' if guest else ''}{name} ({time.monotonic() - self._begin:.0f} s)"
        if not sys.stderr.isatty():
            click.echo(f"vtorque: {text}", err=True)
        elif name in OWN_OUTPUT:
            self.stop()
        else:
            self._show(text)

    def note(self, text: str) -> None:
        """One sentence that the person should see."""
        self.stop()
        click.echo(f"vtorque: {render.printable(text)}", err=True)

    def fault(self, fault: Fault) -> None:
        """A failure beside the one that is raised."""
        self.stop()
        from vtorque_spec.driver import of_fault

        print_findings([of_fault(fault)])

    def stop(self) -> None:
        """Take the changing line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _show(self, text: str) -> None:
        from rich.console import Console

        if self._status is None:
            self._status = Console(stderr=True).status(text)
            self._status.start()
        self._status.update(text)


OWN_OUTPUT = ("prologue", "run", "epilogue")
"""The phases in which the user's own text writes to the terminal."""
