"""A recipe in the place of Debian's: the same contract, without a guest."""

from pathlib import Path

import pytest

from vtorque_runtime.images import archive, build
from vtorque_runtime.images.build import Progress, Recipe
from vtorque_spec.plan import ImageFiles

ANY = """\
echo step 1/1 toy
for f in root.qcow2 vmlinuz initrd.img packages.txt contents.txt; do echo "$RANDOM $f" >"$1/$f"; done
echo "${@:4}" >"$1/packages.txt"
printf '%s\\n' 0 101 65534 >"$1/work/uids"
printf '%s\\n' 0 5 >"$1/work/gids"
"""
"""A recipe whose image comes out in another way each time."""

SAME = ANY.replace("$RANDOM $f", "$f")


class Toy:
    """The recipe `toy`, and a store of its own."""

    def __init__(self, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scratch = scratch
        self.store = scratch / "images"
        self.archive = "sha256:" + "0" * 64
        self.said: list[str] = []
        """The first word of each line of progress, of the last build."""
        (scratch / "recipes").mkdir()
        monkeypatch.setattr(build, "SCRIPTS", scratch / "recipes")
        monkeypatch.setattr(build, "RECIPES", {"toy": Recipe("toy.sh")})
        monkeypatch.setattr(build, "DEBS", scratch / "debs")
        monkeypatch.setattr(build, "check_prerequisites", lambda: None)
        monkeypatch.setattr(build, "PRIVATE_MOUNTS", ())
        monkeypatch.setattr(build, "archive_of_this_machine", lambda: archive.choose_mirrors("", "", ""))
        monkeypatch.setattr(build, "archive_state", lambda found: self.archive)
        monkeypatch.setattr(build, "versions", lambda packages: ("tool 1",))
        self.script(ANY)

    def script(self, text: str) -> None:
        """Let this be the recipe from now on."""
        (self.scratch / "recipes" / "toy.sh").write_text(text)

    def build(self, created: int) -> ImageFiles:
        """Build it into the store."""
        self.said.clear()
        return build.build("toy", self.store, created=created, progress=self._progress)

    def check(self) -> ImageFiles:
        """Build it again."""
        self.said.clear()
        return build.check("toy", self.store, progress=self._progress)

    def _progress(self, now: Progress) -> None:
        self.said.append(now.text.split(" ")[0])
