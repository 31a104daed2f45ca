"""Where a Debian 12 guest's packages come from: this machine's own mirrors, if it is a Debian machine.

A site with a mirror or a proxy has told apt so; this reads it from apt and asks nobody again.
"""

import platform
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vtorque_spec.canonical import digest
from vtorque_spec.fault import Fault

SUITE = "bookworm"

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_HELPER = Path("/usr/lib/apt/apt-helper")

DEBIAN_URI = "http://deb.debian.org/debian"
SECURITY_URI = "http://deb.debian.org/debian-security"

_TARGET_FORMAT = "$(RELEASE) $(COMPONENT) $(SIGNED_BY) $(REPO_URI)"
_SETTING = re.compile(
    r'Acquire::(?:https?::[\w:-]+|Retries|ForceIPv4|ForceIPv6|Check-Date|Check-Valid-Until) "[^"]+";', re.ASCII
)
_PACKAGES_DIGEST = re.compile(r"^ ([0-9a-f]{64}) +\d+ main/binary-amd64/Packages$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mirror:
    """One archive of Debian's: its address, and the keyring file that its signature is checked with."""

    uri: str
    keyring: str


@dataclass(frozen=True, slots=True)
class Archive:
    """The archives of a build. `settings` is apt configuration text; `origin` says who named the mirrors."""

    debian: Mirror
    security: Mirror
    settings: str
    origin: str

    @property
    def suites(self) -> tuple[tuple[Mirror, str], ...]:
        """Each suite to install from, with its mirror."""
        return (self.debian, SUITE), (self.debian, f"{SUITE}-updates"), (self.security, f"{SUITE}-security")

    @property
    def sources(self) -> str:
        """Return the text of an apt .sources file (deb822, see sources.list(5))."""
        return "\n".join(
            f"Types: deb\nURIs: {mirror.uri}\nSuites: {suite}\nComponents: main\nSigned-By: {mirror.keyring}\n"
            for mirror, suite in self.suites
        )


def archive_of_this_machine() -> Archive:
    """Ask apt for the mirrors, the proxy and the certificates that it uses; raises Fault VT0905 when apt cannot say."""
    release = platform.freedesktop_os_release()
    codename = release.get("VERSION_CODENAME", "") if release["ID"] == "debian" else ""
    mirrors = parse_targets(_apt("apt-get", "indextargets", "--format", _TARGET_FORMAT, "Created-By: Packages"))
    debian = mirrors.get(codename)
    security = mirrors.get(f"{codename}-security")
    return Archive(
        debian=debian or Mirror(DEBIAN_URI, str(KEYRING)),
        security=security or Mirror(SECURITY_URI, str(KEYRING)),
        settings=parse_settings(_apt("apt-config", "--no-empty", "dump")),
        origin=f"{_who(debian)} named the mirror, {_who(security)} the security mirror",
    )


def parse_targets(text: str) -> dict[str, Mirror]:
    """Read lines of _TARGET_FORMAT into suite -> mirror, for component main; the first source of a suite counts."""
    found: dict[str, Mirror] = {}
    for line in text.splitlines():
        suite, component, keyring, uri = line.split(" ", 3)
        if component == "main":
            path = keyring if keyring.startswith("/") else str(KEYRING)
            found.setdefault(suite, Mirror(uri.rstrip("/"), path))
    return found


def parse_settings(text: str) -> str:
    """Return the lines of `apt-config dump` that say how an archive is reached, in their order."""
    return "".join(f"{line}\n" for line in text.splitlines() if _SETTING.fullmatch(line))


def archive_state(archive: Archive) -> str:
    """Return a digest of what the suites hold today, from their InRelease files: equal when no package changed.

    Nothing is believed of it (the build checks signatures). Raises Fault VT0905 when a mirror cannot be read.
    """
    return digest("archive", 1, [_packages_digest(mirror, suite) for mirror, suite in archive.suites])


def _packages_digest(mirror: Mirror, suite: str) -> str:
    uri = f"{mirror.uri}/dists/{suite}/InRelease"
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "InRelease")
        _apt(str(APT_HELPER), "download-file", uri, str(copy))
        found = _PACKAGES_DIGEST.search(copy.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise Fault("VT0905", f"{uri} lists no packages for amd64", help="name a Debian mirror in apt's sources")
    return found[1]


def _apt(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise Fault(
            "VT0905",
            f"{' '.join(argv[:3])} failed",
            help="`apt-get update` must work on this machine: check its network, mirror and proxy",
            detail=(done.stdout + done.stderr).strip(),
        )
    return done.stdout


def _who(mirror: Mirror | None) -> str:
    return "this machine's apt" if mirror else "vtorque"
