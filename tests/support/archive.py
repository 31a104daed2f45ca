"""A small signed Debian archive on 127.0.0.1. https://wiki.debian.org/DebianRepository/Format"""

import email.utils
import hashlib
import subprocess
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DAY_S = 24 * 3600


@dataclass(frozen=True)
class Deb:
    """A package without a file in it; `fields` are further lines of its control file."""

    name: str
    version: str
    fields: tuple[str, ...] = ()

    def build(self, directory: Path) -> Path:
        """Make it below `directory`."""
        tree = directory / "tree" / f"{self.name}_{self.version}"
        (tree / "DEBIAN").mkdir(parents=True)
        lines = [f"Package: {self.name}", f"Version: {self.version}", "Architecture: all", *self.fields]
        lines += ["Maintainer: vtorque <root@localhost>", "Description: for a test"]
        (tree / "DEBIAN/control").write_text("\n".join(lines) + "\n")
        path = directory / f"{self.name}_{self.version}_all.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, path], check=True, capture_output=True)
        return path


@dataclass(frozen=True)
class Archive:
    """An archive that is served, and its key (armoured). A guest on QEMU's own network reaches it at 10.0.2.2."""

    port: int
    key: str

    def sources(self, suites: Sequence[str]) -> str:
        """Return it as apt's *.sources files have it."""
        key = textwrap.indent("\n".join(line or "." for line in self.key.splitlines()), " ")
        uri = f"http://10.0.2.2:{self.port}/"
        return f"Types: deb\nURIs: {uri}\nSuites: {' '.join(suites)}\nComponents: main\nSigned-By:\n{key}\n"


@contextmanager
def served(directory: Path, suites: Mapping[str, Sequence[Deb]]) -> Iterator[Archive]:
    """Build the packages of each suite, sign, and serve them while the block runs."""
    root, home = directory / "archive", directory / "gpg"
    root.mkdir()
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "archive", "ed25519", "sign", "0"], check=True, capture_output=True)
    try:
        for suite, packages in suites.items():
            _write_suite(root, suite, packages, gpg)
        key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True, text=True).stdout
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Archive(server.server_port, key)
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


def _write_suite(root: Path, suite: str, packages: Sequence[Deb], gpg: list[str]) -> None:
    pool, lists = root / "pool" / suite, root / "dists" / suite / "main/binary-amd64"
    for path in (pool, lists):
        path.mkdir(parents=True)
    index = "\n".join(_stanza(root, deb.build(pool)) for deb in packages).encode()
    (lists / "Packages").write_bytes(index)
    date = email.utils.formatdate(time.time() - DAY_S, usegmt=True)
    digest = f" {_sha256(index)} {len(index)} main/binary-amd64/Packages"
    release = [f"Suite: {suite}", f"Codename: {suite}", f"Date: {date}", "Architectures: amd64", "Components: main"]
    (root / "dists" / suite / "Release").write_text("\n".join([*release, "SHA256:", digest]) + "\n")
    files = ["--output", str(root / "dists" / suite / "InRelease"), str(root / "dists" / suite / "Release")]
    subprocess.run([*gpg, "--clearsign", *files], check=True)


def _stanza(root: Path, path: Path) -> str:
    control = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True, text=True).stdout
    content = path.read_bytes()
    return f"{control}Filename: {path.relative_to(root)}\nSize: {len(content)}\nSHA256: {_sha256(content)}\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
