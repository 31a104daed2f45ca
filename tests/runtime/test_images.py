import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vtorque_runtime.images import store
from vtorque_runtime.images.provenance import Provenance
from vtorque_spec.fault import Fault
from vtorque_spec.plan import ImageFiles

DIGEST = "sha256:" + "0" * 64
MADE = Provenance(DIGEST, DIGEST, ("qemu-utils 1:7.2",), (0, 101), (0, 5))


def fill(directory: Path, disk: str) -> None:
    files = {"root.qcow2": disk, "vmlinuz": "k", "initrd.img": "i", "packages.txt": "p", "contents.txt": "c"}
    for name, text in files.items():
        (directory / name).write_text(text)


def add(images: Path, name: str = "debian-12", disk: str = "disk", created: int = 1) -> ImageFiles:
    with store.staging(images) as directory:
        fill(directory, disk)
        return store.publish(directory, store.describe(directory, name, created=created, provenance=MADE))


def rewrite(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def record_with(image: ImageFiles, old: str, new: str) -> Path:
    path = Path(image.disk).parent / "image.json"
    text = path.read_text()
    assert old in text
    rewrite(path, text.replace(old, new))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "vtorque" / "images"


def test_no_store_has_no_images(images: Path) -> None:
    assert store.installed(images) == ()


def test_an_added_image_is_found_and_everybody_can_read_it(images: Path) -> None:
    old_umask = os.umask(0o077)
    try:
        image = add(images)
    finally:
        os.umask(old_umask)
    assert store.installed(images) == (image,)
    store.verify(image)
    home = Path(image.disk).parent
    assert home.name == f"debian-12@{image.sha256[:16]}"
    assert {path.stat().st_mode & 0o777 for path in (home, images, images.parent)} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in home.iterdir()} == {0o444}


def test_the_newest_of_a_name_wins_whatever_the_order_of_adding(images: Path) -> None:
    newest = add(images, disk="b", created=20)
    older = add(images, disk="a", created=10)
    other = add(images, "alpine-3", disk="c", created=5)
    assert [store.newest(images)[one.name].files(images) for one in (other, newest)] == [other, newest]
    assert store.installed(images) == (other, newest, older)


def test_an_image_is_never_replaced(images: Path) -> None:
    first = add(images, created=1)
    before = (Path(first.disk).parent / "image.json").read_text()
    assert add(images, created=2) == first
    assert (Path(first.disk).parent / "image.json").read_text() == before
    assert [path.name for path in images.glob("[!.]*")] == [Path(first.disk).parent.name]


@pytest.mark.parametrize("part", ["disk", "kernel", "initrd"])
def test_a_changed_part_is_found(images: Path, part: str) -> None:
    image = add(images)
    rewrite(Path(getattr(image, part)), "other")
    with pytest.raises(Fault, match=r"VT0503: .* has changed") as raised:
        store.verify(image)
    assert getattr(image, part) in raised.value.message
    assert raised.value.help
    assert "sha256:" in (raised.value.detail or "")


def test_a_missing_part_is_found(images: Path) -> None:
    image = add(images)
    Path(image.kernel).unlink()
    with pytest.raises(Fault, match=r"VT0503: cannot open .*vmlinuz"):
        store.verify(image)


def test_a_part_that_is_a_link_is_refused_even_to_the_right_bytes(images: Path, tmp_path: Path) -> None:
    image = add(images)
    shutil.copy(image.disk, tmp_path / "same")
    Path(image.disk).unlink()
    Path(image.disk).symlink_to(tmp_path / "same")
    with pytest.raises(Fault, match=r"VT0503: cannot open .*root\.qcow2"):
        store.verify(image)


def test_a_part_that_is_a_pipe_is_refused_and_not_waited_for(images: Path) -> None:
    image = add(images)
    Path(image.initrd).unlink()
    os.mkfifo(image.initrd)
    with pytest.raises(Fault, match=r"VT0503: .*initrd\.img is not a plain file"):
        store.verify(image)


def test_an_image_that_its_record_does_not_describe_is_refused(images: Path) -> None:
    image = add(images)
    record_with(image, '"vmlinuz"', '"initrd.img"')
    with pytest.raises(Fault, match="describes another image"):
        store.verify(image)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name":"debian-12"}', "[" * 100_000, "\x00\xff"])
def test_a_malformed_record_is_named(images: Path, text: str) -> None:
    path = Path(add(images).disk).parent / "image.json"
    rewrite(path, text)
    with pytest.raises(Fault, match="VT0503: ") as raised:
        store.installed(images)
    assert str(path) in raised.value.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"file":"vmlinuz"', '"file":"../x"'),
        ('"file":"vmlinuz"', '"file":".."'),
        ('"file":"vmlinuz"', '"file":"/etc/passwd"'),
        ('"name":"debian-12"', '"name":"../debian-12"'),
        ('"name":"debian-12"', '"name":"debian-13"'),
        ('"version":2', '"version":3'),
    ],
)
def test_a_record_that_lies_is_refused(images: Path, old: str, new: str) -> None:
    path = record_with(add(images), old, new)
    with pytest.raises(Fault, match="VT0503: ") as raised:
        store.installed(images)
    assert str(path) in raised.value.message


def test_a_record_without_a_file_is_named(images: Path) -> None:
    image = add(images)
    (Path(image.disk).parent / "image.json").unlink()
    with pytest.raises(Fault, match=r"VT0503: cannot open .*image\.json"):
        store.installed(images)


def test_an_image_directory_that_is_a_link_is_refused(images: Path, tmp_path: Path) -> None:
    home = Path(add(images).disk).parent
    home.rename(tmp_path / "elsewhere")
    home.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Fault, match=f"VT0503: {home} is not a directory"):
        store.installed(images)


@pytest.mark.parametrize("which", ["store", "image", "record"])
def test_what_others_may_write_to_is_refused(images: Path, which: str) -> None:
    home = Path(add(images).disk).parent
    path = {"store": images, "image": home, "record": home / "image.json"}[which]
    path.chmod(0o777)
    with pytest.raises(Fault, match=f"VT0503: {path} .*others may write"):
        store.installed(images)


@pytest.mark.root
def test_root_refuses_what_belongs_to_a_user(images: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    home = Path(add(images).disk).parent
    os.chown(home / "image.json", 12345, 12345)
    with pytest.raises(Fault, match=r"VT0503: .*image\.json belongs to uid 12345"):
        store.installed(images)


def test_a_failed_build_leaves_nothing(images: Path) -> None:
    kept = add(images)

    def fail() -> None:
        with store.staging(images) as directory:
            fill(directory, "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(images.glob("[!.]*")) == [Path(kept.disk).parent]
    assert list(images.glob(".new-*")) == []


KILLED = """
import sys, time
from pathlib import Path
from vtorque_runtime.images import store
with store.staging(Path(sys.argv[1])) as directory:
    (directory / "root.qcow2").write_text("half")
    print(directory, flush=True)
    time.sleep(600)
"""


def test_a_killed_build_is_not_seen_and_swept_by_the_next(images: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(images)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        process.kill()
    assert left.is_dir()
    assert store.installed(images) == ()
    image = add(images)
    assert not left.exists()
    assert store.installed(images) == (image,)
