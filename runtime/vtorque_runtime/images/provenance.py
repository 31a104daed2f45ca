"""What an image was built from and whose files it has: the part of its record that no added image has."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vtorque_spec.fault import Fault

_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Provenance:
    """How an image was made: again from the same, the same comes out, byte by byte.

    `recipe` is a digest of the recipe's text, of what it was asked for and of the archives' addresses, `archive` one of
    what these held. `tools` are the Debian packages of the building machine that had a hand in it, each with its
    version. `uids` and `gids` are those of the accounts, groups and files inside, ascending.
    """

    recipe: str
    archive: str
    tools: tuple[str, ...]
    uids: tuple[int, ...]
    gids: tuple[int, ...]


def versions(packages: Iterable[str]) -> tuple[str, ...]:
    """Return "NAME VERSION" of each package of this machine; raises Fault VT0905 when dpkg does not know one."""
    argv = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n", *sorted(set(packages))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Fault(
            "VT0905",
            "this machine's dpkg cannot say which tools build the image",
            help="install them as Debian packages: " + " ".join(argv[4:]),
            detail=done.stderr.strip(),
        )
    return tuple(done.stdout.splitlines())


def read_ids(path: Path) -> tuple[int, ...]:
    """Return the numbers in a recipe's list `path`, one a line; raises Fault VT0905 when it is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if not lines or not all(_NUMBER.fullmatch(line) for line in lines):
        raise Fault("VT0905", f"the recipe left no list of numbers in {path.name}", help="mend the recipe")
    return tuple(sorted({int(line) for line in lines}))
