"""Build a guest image by its recipe, a script with a list of packages, and put it into the store."""

import contextlib
import fcntl
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vtorque_runtime.images.again import check_boots, differences
from vtorque_runtime.images.archive import APT_HELPER, KEYRING, Archive, archive_of_this_machine, archive_state
from vtorque_runtime.images.provenance import Provenance, read_ids, versions
from vtorque_runtime.images.store import ImageRecord, describe, newest, publish, records, renew, staging
from vtorque_spec.canonical import digest
from vtorque_spec.fault import Fault
from vtorque_spec.plan import ImageFiles

SCRIPTS = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is made: the name of a file in SCRIPTS, and Debian packages to install beside the script's own.

    `kernel` is the package that names the newest one. Debian's for virtual machines boots sooner, and has no 9p.
    """

    script: str
    packages: tuple[str, ...] = ()
    kernel: str = "linux-image-cloud-amd64"

    @property
    def asked(self) -> tuple[str, ...]:
        """What the script is told to install."""
        return self.kernel, *self.packages


RECIPES = {
    "debian-12": Recipe("debian-12.sh"),
    "debian-12-mpi": Recipe("debian-12.sh", ("mpich", "nfs-common", "openmpi-bin"), "linux-image-amd64"),
}

DEBS = Path("/var/cache/vtorque/debs")
"""Downloaded packages, kept for the next build. Its `.lock`, which only root can open, lets one build run at a time."""

SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

PRIVATE_MOUNTS = ("unshare", "--mount", "--")
"""Starts a recipe so that no mount of its own outlives it, or stands in the way when its directory is removed."""

NEEDS = (
    (str(APT_HELPER), "apt"),
    (str(KEYRING), "debian-archive-keyring"),
    ("cpio", "cpio"),
    ("debugfs", "e2fsprogs"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("mmdebstrap", "mmdebstrap"),
    ("qemu-img", "qemu-utils"),
    ("unshare", "util-linux"),
    ("zstd", "zstd"),
)
"""Every program or file that a build needs, with the Debian package that has it."""

_STEP = re.compile(r"step (\d+)/(\d+) (.+)")
_PART = re.compile(r"part (\d+)/(\d+)")
_TAIL_LINES = 30


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is: `text` is what is being done, step `step` of `total`, of which `fraction` (0 to 1) is done.

    `fraction` is None where it is not known. A remark that belongs to no step has step 0 of 0.
    """

    step: int
    total: int
    text: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class _Making:
    """A build that may begin: its recipe and what decides how it comes out, as digests."""

    name: str
    recipe: Recipe
    source: Archive
    made_from: tuple[str, str]
    lock: int

    def is_of(self, image: ImageRecord) -> bool:
        """Say whether a stored image was made from the same."""
        built = image.provenance
        return built is not None and (built.recipe, built.archive) == self.made_from

    def differs_from(self, image: ImageRecord) -> str:
        """Say why a stored image was not made from the same."""
        built = image.provenance
        if built is None:
            return "it was added, or built by an earlier version of this program, and its record names no recipe"
        changed = "its recipe has" if built.recipe != self.made_from[0] else "the archives' packages have"
        return f"{changed} changed since"

    def make(self, directory: Path, created: int, progress: Callable[[Progress], None]) -> ImageRecord:
        """Run the recipe in an empty directory; the image's files are there then, and nothing else."""
        script = SCRIPTS / self.recipe.script
        work = directory / "work"
        work.mkdir()
        (work / "debian.sources").write_text(self.source.sources, encoding="utf-8")
        (work / "apt.conf").write_text(self.source.settings, encoding="utf-8")
        command = [*PRIVATE_MOUNTS, "bash", str(script), str(directory), str(DEBS), *self.recipe.asked]
        run_recipe(command, progress, keep_open=(self.lock,))
        tools = versions(package for _, package in NEEDS)
        provenance = Provenance(*self.made_from, tools, read_ids(work / "uids"), read_ids(work / "gids"))
        shutil.rmtree(work)
        return describe(directory, self.name, created=created, provenance=provenance)


def build(name: str, store: Path, *, created: int, progress: Callable[[Progress], None]) -> ImageFiles:
    """Build image `name` into `store` and return it; the newest one is returned when it would come out the same.

    The same means: the same recipe, and archives that hold the same packages. `created` is the time now, in
    seconds since 1970. Raises Fault VT0905 when this machine lacks something or the recipe fails, and VT0521 where the
    store has the disk with another kernel or initrd.
    """
    with _making(name, progress) as making:
        last = newest(store).get(name)
        if last is not None and making.is_of(last):
            progress(Progress(0, 0, f"reused {last.directory}: neither the recipe nor any package has changed"))
            return last.files(store)
        with staging(store) as directory:
            made = making.make(directory, created, progress)
            there = next((image for image in records(store) if image.directory == made.directory), None)
            if there is not None:
                check_boots(store, there, made)
                progress(Progress(0, 0, f"came out as {made.directory} again: no package of it has changed"))
                return renew(directory, made)  # else it would be built the next time too
            return publish(directory, made)


def check(name: str, store: Path, *, progress: Callable[[Progress], None]) -> ImageFiles:
    """Build image `name` again, keep nothing of it, and return the stored one, which came out the same.

    Raises Fault VT0550 when it did not, and says why; VT0502 when none is stored; VT0905 as `build` does.
    """
    with _making(name, progress) as making:
        last = newest(store).get(name)
        if last is None:
            raise Fault("VT0502", f"the image {name} is not on this machine", help=f"vtorque image build {name}")
        if not making.is_of(last):
            raise Fault(
                "VT0550",
                f"{last.directory} cannot be built again: {making.differs_from(last)}",
                help=f"vtorque image build {name} makes a new one",
            )
        with staging(store) as directory:
            again = making.make(directory, last.created, progress)
            found = differences(last, store / last.directory, again, directory)
    if found:
        raise Fault(
            "VT0550",
            f"{last.directory} came out as {again.directory} when it was built again",
            help="build with the same versions of the tools; where they are the same, the recipe lets something in",
            detail="\n".join(found),
        )
    return last.files(store)


@contextlib.contextmanager
def _making(name: str, progress: Callable[[Progress], None]) -> Iterator[_Making]:
    """Check that image `name` can be built here, wait for its turn, and ask the archives what they hold."""
    recipe = RECIPES.get(name)
    if recipe is None:
        raise Fault("VT0905", f"there is no recipe for {name!r}", help=f"recipes: {', '.join(sorted(RECIPES))}")
    check_prerequisites()
    with _one_build(progress) as lock:
        source = archive_of_this_machine()
        progress(Progress(0, 0, f"packages from {source.debian} and {source.security} ({source.origin})"))
        text = [(SCRIPTS / recipe.script).read_text("utf-8"), *recipe.asked, source.sources]
        yield _Making(name, recipe, source, (digest("recipe", 3, text), archive_state(source)), lock)


def check_prerequisites() -> None:
    """Raise one Fault VT0905 that names everything that a build needs and this machine lacks."""
    missing = [(need, package) for need, package in NEEDS if not _found(need)]
    lacks = [need for need, _ in missing]
    helps = []
    if missing:
        helps.append("apt-get install " + " ".join(sorted({package for _, package in missing})))
    if os.geteuid() != 0:
        lacks.append("root's rights")
        helps.append("run this as root")
    if platform.machine() != "x86_64":
        lacks.append("an x86_64 processor")
    if lacks:
        raise Fault(
            "VT0905", f"building an image needs {', '.join(lacks)}", help="; ".join(helps) or "build on another machine"
        )


def run_recipe(
    command: Sequence[str], progress: Callable[[Progress], None], *, keep_open: tuple[int, ...] = ()
) -> None:
    """Run a recipe's command and pass on what it says of its progress; raises Fault VT0905 with its log's end.

    `keep_open` are descriptors that the recipe inherits. Whatever ends this early ends the recipe too.
    """
    environment = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    environment |= {"PATH": SEARCH_PATH, "LC_ALL": "C"}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            errors="replace",
            env=environment,
            pass_fds=keep_open,
            start_new_session=True,
        ) as process,
    ):
        try:
            _follow(process.stdout or (), progress)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        if process.wait() != 0:
            raise Fault(
                "VT0905",
                f"the recipe failed with exit code {process.returncode}",
                help="the end of its log is below; when a download failed, check that `apt-get update` works",
                detail=_tail(log),
            )


def _follow(lines: IO[str] | tuple[()], progress: Callable[[Progress], None]) -> None:
    """Turn `step N/ALL TEXT` and `part N/ALL` into Progress; any other line is passed on as a remark."""
    now = Progress(0, 0, "")
    for line in (raw.rstrip("\n") for raw in lines):
        if step := _STEP.fullmatch(line):
            now = Progress(int(step[1]), int(step[2]), step[3])
            progress(now)
        elif part := _PART.fullmatch(line):
            progress(Progress(now.step, now.total, now.text, int(part[1]) / int(part[2])))
        else:
            progress(Progress(0, 0, line))


def _tail(log: IO[str]) -> str:
    log.seek(0)
    return "".join(log.readlines()[-_TAIL_LINES:]).rstrip()


def _found(need: str) -> bool:
    return Path(need).exists() if need.startswith("/") else shutil.which(need, path=SEARCH_PATH) is not None


@contextlib.contextmanager
def _one_build(progress: Callable[[Progress], None]) -> Iterator[int]:
    """Wait until no other build runs; gives the lock's descriptor, which a recipe inherits and so outlives us."""
    DEBS.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(DEBS / ".lock", os.O_CREAT | os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(Progress(0, 0, "waiting for another build to end"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)
