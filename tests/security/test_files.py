"""Files that root goes by and somebody else could change, or made beforehand: refused, and nothing is made."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.security.users import User
from tests.security.world import World, steps_of
from vtorque_runtime.confine import call_as
from vtorque_runtime.images import store
from vtorque_runtime.spool import open_registry
from vtorque_runtime.status import READY
from vtorque_spec.fault import Fault

pytestmark = pytest.mark.root

OFFER_ALL = """
import sys
path = sys.argv[1] + "/site.yaml"
text = open(path).read().replace("source: $HOME", "source: /")
open(path, "w").write(text)
print("yes")
"""
"""What a user would do who can write the site's file."""


def give(path: Path, user: User, mode: int, *, group: bool = False) -> None:
    os.chown(path, 0 if group else user.uid, user.gid)
    path.chmod(mode)


def hooks(site: Path) -> Path:
    (site / "hooks").mkdir()
    return site / "hooks"


def moved(path: Path) -> Path:
    return path.rename(path.with_suffix(".old"))


LOOSE: dict[str, Callable[[Path, User], None]] = {
    "a file that a group can write": lambda site, user: give(site / "site.yaml", user, 0o664, group=True),
    "a file of the user's": lambda site, user: give(site / "site.yaml", user, 0o644),
    "a file that all can write": lambda site, user: (site / "images/tiny.yaml").chmod(0o666),
    "a directory that a group can write": lambda site, user: give(site, user, 0o775, group=True),
    "a directory of the user's": lambda site, user: give(site / "images", user, 0o755),
    "a link": lambda site, user: (site / "policy.yaml").symlink_to(user.home / "policy.yaml"),
    "a link to a directory": lambda site, user: (site / "more").symlink_to(user.home),
    "hooks that a group can write": lambda site, user: hooks(site).chmod(0o775),
}


@pytest.mark.parametrize("how", LOOSE)
def test_a_site_that_others_change_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    spec = world.machine_part()
    LOOSE[how](world.site, world.user)
    world.site.chmod(world.site.stat().st_mode | 0o011)
    tried = world.user.does(OFFER_ALL, world.site)
    assert tried == ("yes" if "a file that a group" in how or "a file of the user" in how else "PermissionError")
    steps = steps_of(monkeypatch)
    now = world.run(world.user, spec)
    assert now.verdict is not None
    assert {one.code for one in now.verdict.findings} == {"VT0745"}
    assert now.verdict.kind == "site"
    assert steps == []


KEYS: dict[str, Callable[[Path, User], None]] = {
    "that a group reads": lambda key, user: give(key, user, 0o640, group=True),
    "of the user's": lambda key, user: give(key, user, 0o600),
    "that is a link": lambda key, user: key.symlink_to(moved(key)),
}


@pytest.mark.parametrize("how", KEYS)
def test_a_key_that_others_have_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    KEYS[how](world.site / "cluster.key", world.user)
    steps = steps_of(monkeypatch)
    now = world.run(world.user)
    assert now.verdict is not None
    assert {one.code for one in now.verdict.findings} <= {"VT0935", "VT0745"}
    assert now.verdict.kind == "site"
    assert steps == []


def test_nobody_makes_a_spool_beforehand(world: World) -> None:
    base = world.node.registry.base
    make = "import os, sys; os.mkdir(sys.argv[1]); print('yes')"
    for path in (base / "jobs/12.node", base / "shares", base / "ended", base / "log", base / "jobs/.lock.d"):
        assert world.user.does(make, path) == "PermissionError"


def test_a_spool_that_was_there_is_not_used(world: World, tmp_path: Path) -> None:
    """Left by a crash, or by an admin's mistake: what is in it is removed, and no link of it is followed."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    spool = world.spool().path
    spool.mkdir(mode=0o777)
    (spool / "owner").symlink_to(kept)
    (spool / "vm0").mkdir()
    (spool / "vm0/root.qcow2").symlink_to(kept / "file")
    os.chown(spool, world.user.uid, world.user.gid)
    assert world.run(world.user).phase == READY
    assert (kept / "file").stat().st_size == 0
    assert (spool.stat().st_uid, spool.stat().st_mode & 0o777) == (0, 0o711)
    assert not (spool / "owner").is_symlink()


@pytest.mark.parametrize("kind", ["directory", "link", "file"])
def test_another_user_makes_a_users_base(world: World, tmp_path: Path, kind: str) -> None:
    """/var/tmp/vtorque-UID can be made by anybody: then its owner is told, and does not use it."""
    public = world.node.directory / "public"
    public.mkdir()
    public.chmod(0o1777)
    base = public / f"vtorque-{world.user.uid}"
    act = {
        "directory": "os.mkdir(p); os.chmod(p, 0o777)",
        "link": f"os.symlink({str(world.user.home)!r}, p)",
        "file": "open(p, 'w')",
    }[kind]
    assert world.other.does(f"import os, sys; p = sys.argv[1]; {act}; print('yes')", base) == "yes"

    def opened() -> bytes:
        open_registry("session", base)
        return b"used"

    with pytest.raises(Fault, match="VT0914"):
        call_as(world.user.uid, world.user.gid, [], opened)
    base.rename(base.with_name("away"))
    assert call_as(world.user.uid, world.user.gid, [], opened) == b"used"
    assert world.other.reads(base) == "PermissionError"


def test_nobody_changes_an_image(world: World) -> None:
    (image,) = store.installed(store.SYSTEM_STORE)
    store.SYSTEM_STORE.chmod(0o755)
    home = Path(image.disk).parent
    for path in (home, home / "image.json", Path(image.disk), Path(image.kernel), Path(image.initrd)):
        assert world.user.reads(path) in ("yes", "UnicodeDecodeError"), "else the next says nothing"
        for code in ("open(p + ('/x' if os.path.isdir(p) else ''), 'a')", "os.rename(p, p + '.old')", "os.unlink(p)"):
            assert world.user.does(f"import os, sys; p = sys.argv[1]; {code}", path) == "PermissionError"


@pytest.mark.parametrize("part", ["disk", "kernel", "initrd"])
@pytest.mark.parametrize("how", ["other bytes", "a link", "the user's"])
def test_an_image_that_is_swapped_after_the_prologue(
    world: World, monkeypatch: pytest.MonkeyPatch, part: str, how: str
) -> None:
    """The prologue has registered the job; its supervisor looks at the files themselves before it makes anything."""
    spec = world.machine_part()
    world.begin(world.user, spec)
    (image,) = store.installed(store.SYSTEM_STORE)
    path = Path(getattr(image, part))
    if how == "other bytes":
        path.chmod(0o644)
        path.write_bytes(b"other")
    elif how == "a link":
        path.rename(path.with_suffix(".old"))
        path.symlink_to(path.with_suffix(".old"))
    else:
        os.chown(path, world.user.uid, world.user.gid)
    steps = steps_of(monkeypatch)
    now = world.run(world.user, spec)
    assert now.verdict is not None
    assert {one.code for one in now.verdict.findings} <= {"VT0503", "VT0502"}, now.verdict
    assert steps == []
