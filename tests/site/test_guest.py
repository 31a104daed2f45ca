"""What a site does in its guests, read from its directory."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.site.helpers import site
from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.plan import NO_SETUP, GuestSetup, OfferedMount
from vtorque_spec.site import load_site
from vtorque_spec.site.guest import TEXT_LIMIT_BYTES
from vtorque_spec.site.offers import offered_mounts

HOOKS = "guest: {hooks: {boot: hooks/boot, shutdown: hooks/shutdown}}\n"


def hooks(directory: Path, boot: bytes, shutdown: bytes = b"#!/bin/sh\n") -> Path:
    root = site(directory, new=HOOKS)
    (root / "hooks").mkdir()
    (root / "hooks/boot").write_bytes(boot)
    (root / "hooks/shutdown").write_bytes(shutdown)
    return root


def test_nothing_is_done_that_is_not_said(tmp_path: Path) -> None:
    found = load_site(site(tmp_path), Report())
    assert found is not None
    assert found.setup == NO_SETUP


def test_hooks_are_read(tmp_path: Path) -> None:
    report = Report()
    found = load_site(hooks(tmp_path, "#!/bin/sh\necho ä\n".encode()), report)
    assert found is not None, report.items
    assert found.setup == GuestSetup(None, "none", (), "#!/bin/sh\necho ä\n", "#!/bin/sh\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"echo\n", "does not begin with #!"),
        (b"", "does not begin with #!"),
        (b"#!/bin/sh\n\0", "has a NUL in it"),
        (b"#!/bin/sh\n\xff", "is not UTF-8"),
        (b"#!" + b"x" * TEXT_LIMIT_BYTES, "has more than 65536 bytes"),
    ],
)
def test_what_no_guest_could_run_is_told(tmp_path: Path, text: bytes, why: str) -> None:
    report = Report()
    assert load_site(hooks(tmp_path, text), report) is None
    assert [(item.code, item.message) for item in report.items] == [
        (Code.GUEST_FILE, f"{tmp_path}/site/hooks/boot {why}")
    ]


def test_a_directory_or_a_pipe_is_no_hook(tmp_path: Path) -> None:
    root = hooks(tmp_path, b"#!")
    (root / "hooks/boot").unlink()
    (root / "hooks/boot").mkdir()
    report = Report()
    load_site(root, report)
    assert "is a directory" in report.items[0].message


def test_sources_of_apt_are_read(tmp_path: Path) -> None:
    root = site(tmp_path, new="guest: {apt_sources: mirror.sources}\n")
    text = "# the mirror\nTypes: deb\nURIs: http://mirror/debian\nSuites: bookworm\nComponents: main\n"
    (root / "mirror.sources").write_text(text)
    found = load_site(root, Report())
    assert found is not None
    assert found.setup == replace(NO_SETUP, apt_sources=text)


@pytest.mark.parametrize("path", ["/etc/passwd", "../boot", "a/../../b", "$HOME/x", ".hidden", ""])
def test_a_hook_is_in_the_directory(tmp_path: Path, path: str) -> None:
    report = Report()
    assert load_site(site(tmp_path, new=f'guest: {{hooks: {{boot: "{path}"}}}}\n'), report) is None
    assert {item.code for item in report.items} == {Code.SITE_FILE}


OPTIONS = {
    "vers=4.2": True, "nfsvers=3": True, "proto=rdma": True, "port=12049": True, "sec=krb5p": True, "hard": True,
    "noatime": True, "norelatime": True, "rsize=1048576": True,
    "suid": False, "dev": False, "exec": False, "remount": False, "bind": False, "context=x": False,
    "addr=10.0.0.1": False,
    "clientaddr=10.0.0.1": False, "mountport=1": False, "vers=4.3": False, "port=0": False, "user": False,
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_nfs(tmp_path: Path, option: str) -> None:
    """Nothing that undoes nosuid and nodev, or leads elsewhere."""
    mount = f'{{type: nfs, source: "nas:/a", target: /a, mode: rw, options: ["{option}"]}}'
    root = site(tmp_path, old="networks:", new=f"  archive: {mount}\nnetworks:")
    report = Report()
    found = load_site(root, report)
    assert {item.code for item in report.items} == (set() if OPTIONS[option] else {Code.MOUNT_OPTION})
    assert (found is not None) == OPTIONS[option]


def test_what_root_is_told_of_a_mount(tmp_path: Path) -> None:
    mount = '{type: nfs, source: "nas:/a/$USER", target: /a, mode: rw, options: [vers=4.2]}'
    found = load_site(site(tmp_path, old="networks:", new=f"  archive: {mount}\nnetworks:"), Report())
    assert found is not None
    assert offered_mounts(found) == (
        OfferedMount("archive", "nfs", "nas:/a/$USER", "/a", True, ("vers=4.2",), False),
        OfferedMount("home", "virtiofs", "$HOME", "$HOME", True, (), False),
    )
