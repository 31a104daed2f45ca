"""The keys and identities of a job, derived from the cluster's key: its nodes find the same and exchange nothing.

Each secret is HKDF-SHA256 (RFC 5869) of the cluster's key over what it is for and whose it is. The first key of a
node's file derives; its others are trusted, so that a key can be replaced while jobs run (docs/errors/VT0935.md).
"""

import os
import re
import secrets
import stat
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vtorque_spec.fault import Fault
from vtorque_spec.plan import HostKey, Keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CLUSTER_KEY = Path("/etc/vtorque/cluster.key")
FOREVER_S = 2**64 - 1
"""In a certificate: it has no end."""

_LINE = re.compile(r"[0-9A-Fa-f]{64}")
_SECRET_BYTES = 32
_NONCE_BYTES = 16
_ITSELF = "put the file itself there, root's alone"


def read_cluster_keys(path: Path = CLUSTER_KEY) -> tuple[bytes, ...]:
    """Return the cluster's keys, 32 bytes each, the one that derives first.

    Raises Fault VT0935 unless the file is there, is the caller's (root's) alone, and each line of it is a key.
    """
    make = f"(umask 077; openssl rand -hex 32 > {path}), and copy it to all nodes"
    try:
        with open(path, "rb", opener=_opened) as file:
            _check_file(path, os.fstat(file.fileno()))
            lines = file.read().decode("latin-1").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise Fault("VT0935", f"there is no cluster key {path}", help=f"the cluster's first: {make}") from None
    except OSError as error:
        why = "is a symbolic link" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise Fault("VT0935", f"the cluster key {path} {why}", help=_ITSELF) from None
    for number, line in enumerate(lines, 1):
        if not _LINE.fullmatch(line):  # what it holds instead may be most of a key: it is in no message
            message = f"line {number} of the cluster key {path} is not 64 hexadecimal digits"
            raise Fault("VT0935", message, help=f"copy the file from another node; if there is none: {make}")
    return tuple(bytes.fromhex(line) for line in lines)


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Fault("VT0935", f"the cluster key {path} is not a regular file", help=_ITSELF)
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid() or mode & 0o077:
        message = f"the cluster key {path} is not root's alone: it is uid {found.st_uid}'s, with mode {mode:04o}"
        hint = f"chown root: {path} && chmod 0600 {path}; replace the key if somebody may have read it"
        raise Fault("VT0935", message, help=hint)


@dataclass(frozen=True, slots=True)
class JobKeys:
    """All that is derived for one start of one job; the same on each node whose file has these keys in this order.

    `cluster_keys`, one at least, are as `read_cluster_keys` returns them. `start` tells this start of the job from
    others of the same id, `spec_digest` is that of the machine part. OpenSSH's texts of a private key and of a
    certificate differ from call to call.
    """

    cluster_keys: tuple[bytes, ...] = field(repr=False)
    server: str
    job_id: str
    start: str
    uid: int
    spec_digest: str

    @classmethod
    def random(cls, job_id: str, uid: int) -> Self:
        """Return the keys of a job that this node has alone: they derive from a key that nobody else knows."""
        return cls((secrets.token_bytes(_SECRET_BYTES),), "", job_id, "", uid, "")

    def texts(self) -> Keys:
        """Return what every guest is told. Raises Fault VT0905."""
        return Keys(
            login_key=_private_text(self._key(self.cluster_keys[0], "login")),
            public_keys=tuple(_public_text(self._key(one, "login").public_key()) for one in self.cluster_keys),
            authorities=tuple(
                f"@cert-authority * {_public_text(self._key(one, 'authority').public_key())}"
                for one in self.cluster_keys
            ),
        )

    def host_key(self, node: str, index: int, names: Sequence[str], valid_before_s: int) -> HostKey:
        """Return the key of VM `index` on `node` with the authority's word for it; raises Fault VT0905.

        `names`, one at least, are the names and addresses that it is valid for, until the Unix time `valid_before_s`.
        It has no beginning: a client whose clock is slow takes it too.
        """
        key, authority = (self._key(self.cluster_keys[0], *place) for place in (("host", node, index), ("authority",)))
        from cryptography.hazmat.primitives import serialization as form

        signed = (
            form.SSHCertificateBuilder()
            .public_key(key.public_key())
            .type(form.SSHCertificateType.HOST)
            .key_id(self.job_id.encode())
            .valid_principals([name.encode() for name in names])
            .valid_after(0)
            .valid_before(valid_before_s)
            .sign(authority)
        )
        return HostKey(_private_text(key), _public_text(key.public_key()), signed.public_bytes().decode("ascii"))

    def nonce(self, node: str, index: int) -> str:
        """Return what VM `index` on `node` proves its boot with, hexadecimal. Raises Fault VT0905."""
        return self._secret(self.cluster_keys[0], "nonce", node, index)[:_NONCE_BYTES].hex()

    def uuid(self, node: str, index: int) -> str:
        """Return the UUID, of version 4 by its shape, of the domain of VM `index` on `node`. Raises Fault VT0905."""
        return str(uuid.UUID(bytes=self._secret(self.cluster_keys[0], "uuid", node, index)[:16], version=4))

    def _key(self, cluster_key: bytes, *purpose: str | int) -> "Ed25519PrivateKey":
        secret = self._secret(cluster_key, *purpose)
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(secret)

    def _secret(self, cluster_key: bytes, *purpose: str | int) -> bytes:
        try:
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError as error:
            hint = "pip install 'vtorque[runtime]'"
            raise Fault("VT0905", "Python has no cryptography module here", help=hint, detail=str(error)) from None
        whose = (self.server, self.job_id, self.start, self.uid, self.spec_digest)
        info = encoded("vtorque-1", *whose, *purpose)
        return HKDF(algorithm=SHA256(), length=_SECRET_BYTES, salt=None, info=info).derive(cluster_key)


def encoded(*parts: str | int) -> bytes:
    """Return `parts` as bytes that no other parts lead to: each as UTF-8 behind its length in four bytes."""
    texts = [str(part).encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(text).to_bytes(4, "big") + text for text in texts)


def _private_text(key: "Ed25519PrivateKey") -> str:
    from cryptography.hazmat.primitives import serialization as form

    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode("ascii")


def _public_text(key: "Ed25519PublicKey") -> str:
    from cryptography.hazmat.primitives import serialization as form

    return key.public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode("ascii")
