"""The stand-in for OSv, booted by QEMU alone, prints what a real OSv printed, line for line."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.runtime.osv.test_verdict import CONSOLES, verdict
from tests.support import osv_guest
from tests.support.osv_guest import OsvGuest

OPTIONS = "--rootfs=ramfs --verbose --power-off-on-abort"
"""With which the real one ran."""
MASKS = (
    r"(?<=SeaBIOS )\(version .*\)",
    r"(?<=v0\.57)-[a-z-]+",
    r"(?<=Booted up in )\d+\.\d+",
    r"^0x[0-9a-f]{16} <.*>",
    r"(?<=from pid )\d+ \(.*\)",
    r"^random: device unblocked\.\r\n",  # it has gathered enough in the meantime: no answer to anything
)
"""What differs from one run, or one build, to the next."""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> OsvGuest:
    return osv_guest.build(tmp_path_factory.mktemp("stand-in"))


def console(guest: OsvGuest, line: str, *, killed_after: str = "") -> str:
    """Return all that QEMU prints while a guest with this command line runs."""
    argv = ["qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot", "-accel", "tcg", "-m", "64"]
    argv += ["-serial", "stdio", "-kernel", str(guest.kernel), "-append", line]
    said = b""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as qemu:
        assert qemu.stdout is not None
        for text in qemu.stdout:
            said += text
            if killed_after and text.startswith(killed_after.encode()):
                qemu.terminate()
    assert qemu.returncode == 0, said
    return said.decode()


def masked(text: str) -> list[str]:
    for mask in MASKS:
        text = re.sub(mask, "", text, flags=re.MULTILINE)
    return text.split("\n")


@pytest.mark.parametrize("path", sorted(CONSOLES.iterdir()), ids=lambda path: path.name.split(".")[0])
def test_the_same_console_as_a_real_osv(guest: OsvGuest, path: Path) -> None:
    """Terminal codes, carriage returns and the kernel's own lines among it."""
    real = path.read_bytes().decode()
    command = real.split("Cmdline: ")[1].split("\r\n")[0]
    said = console(guest, f"{OPTIONS} {command}", killed_after="SLEEP ")
    assert masked(said) == masked(real)
    assert verdict(said) == verdict(real)


@pytest.mark.parametrize(
    ("line", "said", "ends"),
    [
        (
            "--mount-fs=virtiofs,/dev/virtiofs0,/data /t exit 0",
            ["VFS: mounting virtiofs at /data", "failed to mount virtiofs, error = Operation not permitted"],
            (1, "VT0954"),
        ),
        (
            "--mount-fs=virtiofs,/data /t",
            ["Ignoring value: 'virtiofs,/data' for option mount-fs, expected in format: <fs_type,url,path>"],
            (127, "VT0952"),
        ),
        (
            '/tools/mount-fs.so nfs "nfs://10.0.2.2/export/?version=4&nfsport=2049" /data ; /t',
            [
                "VFS: mounting nfs at /data",
                "Error in mount(): Operation not permitted(1)",
                "program /tools/mount-fs.so returned 1",
            ],
            (1, "VT0954"),
        ),
        ("--assign-net /t", ["unrecognized option: assign-net", "OSv options:"], (127, "VT0952")),
        ("-x /t", ["not an option: -x", "OSv options:"], (127, "VT0952")),
        ("/t é", ["Failed to parse command line."], (127, "VT0952")),
        ("--norandom", ["This image has an empty command line. Nothing to run."], (127, "VT0952")),
        ("--env=A=Aborted /t Aborted", ["Setting in environment: A=Aborted"], (0, None)),
    ],
    ids=["mount", "no mount", "tool", "option", "no option", "not ASCII", "nothing", "environment"],
)
def test_the_words_of_osvs_source(guest: OsvGuest, line: str, said: list[str], ends: tuple[int, str | None]) -> None:
    """Those of which there is no real console: loader.cc, core/options.cc, fs/vfs/main.cc, tools/mount."""
    found = console(guest, f"{OPTIONS} {line}")
    assert [own for own in found.split("\r\n") if own in said] == said
    assert verdict(found) == ends
