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

_TARGET = re.compile(r"(\S+) main (\S+:\S+)")
_SETTING = re.compile(
    r'Acquire::(?:https?::[\w:.-]+|Retries|ForceIPv4|ForceIPv6|Check-Date|Check-Valid-Until) "[^"]+";', re.ASCII
)
_PACKAGES_DIGEST = re.compile(r"^ ([0-9a-f]{64}) +\d+ main/binary-amd64/Packages$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Archive:
    """The archives of a build, by address. `settings` is apt configuration text; `origin` says who named them."""

    debian: str
    security: str
    settings: str
    origin: str

    @property
    def suites(self) -> tuple[tuple[str, str], ...]:
        """Each suite to install from, with the address of its archive."""
        return (self.debian, SUITE), (self.debian, f"{SUITE}-updates"), (self.security, f"{SUITE}-security")

    @property
    def sources(self) -> str:
        """Return the text of an apt .sources file (deb822, see sources.list(5))."""
        return "\n".join(
            f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
            for uri, suite in self.suites
        )


def archive_of_this_machine() -> Archive:
    """Ask apt for the mirrors, the proxy and the certificates that it uses; raises Fault VT0905 when apt cannot say."""
    release = platform.freedesktop_os_release()
    targets = _apt("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages")
    settings = parse_settings(_apt("apt-config", "--no-empty", "dump"))
    if release.get("ID") != "debian":
        return choose_mirrors("", "", settings)
    return choose_mirrors(release.get("VERSION_CODENAME", ""), targets, settings)


def choose_mirrors(codename: str, targets: str, settings: str) -> Archive:
    """Take the mirrors that serve Debian `codename` (text, empty on other systems) to this machine, else Debian's own.

    `targets` has a line "SUITE COMPONENT URI" for each source that apt knows; the first of a suite counts.
    """
    named: dict[str, str] = {}
    for match in map(_TARGET.fullmatch, targets.splitlines()):
        if match:
            named.setdefault(match[1], match[2].rstrip("/"))
    debian, security = named.get(codename), named.get(f"{codename}-security")
    missing = [suite for suite, uri in ((codename, debian), (f"{codename}-security", security)) if uri is None]
    origin = "from this machine's apt sources"
    if missing:
        origin = f"this machine's apt sources do not name {' and '.join(missing)}, so Debian's own mirror serves"
    if not codename:
        origin = "Debian's own mirror, because this machine is not Debian"
    return Archive(debian or DEBIAN_URI, security or SECURITY_URI, settings, origin)


def parse_settings(text: str) -> str:
    """Return the lines of `apt-config dump` that say how an archive is reached, in their order."""
    return "".join(f"{line}\n" for line in text.splitlines() if _SETTING.fullmatch(line))


def archive_state(archive: Archive) -> str:
    """Return a digest of what the suites hold today, from their InRelease files: equal when no package changed.

    Nothing is believed of it (the build checks signatures). Raises Fault VT0905 when a mirror cannot be read.
    """
    return digest("archive", 1, [_packages_digest(uri, suite) for uri, suite in archive.suites])


def _packages_digest(archive: str, suite: str) -> str:
    uri = f"{archive}/dists/{suite}/InRelease"
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
