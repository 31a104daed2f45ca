"""What derives from the cluster's key: the same everywhere, different for whatever differs, and real to ssh-keygen.

What sshd and ssh make of it is in tests/test_seed_ssh.py.
"""

import os
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from vtorque_runtime.keys import FOREVER_S, JobKeys, encoded, read_cluster_keys
from vtorque_spec.fault import Fault

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
JOB = JobKeys((OLD,), "head", "12", "1700000000", 1100, "sha256:0")


def derived(keys: JobKeys, node: str = "n1", index: int = 0) -> tuple[object, ...]:
    """All that derives, without what OpenSSH's texts have of chance."""
    texts, host = keys.texts(), keys.host_key(node, index, ["v"], FOREVER_S)
    login = serialization.load_ssh_private_key(texts.login_key.encode(), None)
    raw = login.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return raw, *texts.public_keys, *texts.authorities, host.public, keys.nonce(node, index), keys.uuid(node, index)


def test_two_nodes_derive_the_same() -> None:
    assert derived(JOB) == derived(JobKeys((OLD,), "head", "12", "1700000000", 1100, "sha256:0"))


def test_no_two_of_them_are_the_same() -> None:
    assert len(set(derived(JOB))) == len(derived(JOB))


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, cluster_keys=(NEW,)),
        replace(JOB, server="head2"),
        replace(JOB, job_id="13"),
        replace(JOB, start="1700000001"),
        replace(JOB, uid=1101),
        replace(JOB, spec_digest="sha256:1"),
        replace(JOB, server="head1", job_id="2"),
        replace(JOB, job_id="121", start="700000000"),
        replace(JOB, start="17000000001", uid=100),
        replace(JOB, uid=110, spec_digest="0sha256:0"),
        JobKeys.random("12", 1100),
    ],
    ids=lambda keys: f"{keys.server} {keys.job_id} {keys.start} {keys.uid} {keys.spec_digest}",
)
def test_whatever_differs_changes_all(other: JobKeys) -> None:
    assert not set(derived(JOB)) & set(derived(other))


@pytest.mark.parametrize("place", [("n2", 0), ("n1", 1), ("n10", 0), ("n", 10)])
def test_each_guest_has_its_own(place: tuple[str, int]) -> None:
    mine, other = derived(JOB), derived(JOB, *place)
    assert mine[:3] == other[:3], "login key and authority are the job's"
    assert not set(mine[3:]) & set(other[3:])


def test_two_random_jobs_share_nothing() -> None:
    assert not set(derived(JobKeys.random("12", 1100))) & set(derived(JobKeys.random("12", 1100)))


@given(st.lists(st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from("\0\x01/,1"))))
def test_the_parts_can_be_told_from_their_encoding(parts: list[str]) -> None:
    rest, found = encoded(*parts), []
    while rest:
        end = 4 + int.from_bytes(rest[:4], "big")
        found.append(rest[4:end].decode("utf-8", "surrogatepass"))
        rest = rest[end:]
    assert found == parts


def test_the_cluster_key_is_in_no_repr() -> None:
    assert repr(OLD)[2:20] not in repr(JOB)


def test_a_uuid_looks_random() -> None:
    found = uuid.UUID(JOB.uuid("n1", 0))
    assert (found.version, found.variant) == (4, uuid.RFC_4122)


def test_a_nonce_is_hexadecimal() -> None:
    assert len(bytes.fromhex(JOB.nonce("n1", 0))) == 16


def test_ssh_keygen_reads_the_private_keys(tmp_path: Path) -> None:
    texts, host = JOB.texts(), JOB.host_key("n1", 0, ["v"], FOREVER_S)
    for private, public in ((texts.login_key, texts.public_keys[0]), (host.private, host.public)):
        (tmp_path / "key").write_text(private)
        (tmp_path / "key").chmod(0o600)
        done = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True, check=True)
        assert done.stdout.split()[:2] == public.split()


def test_ssh_keygen_reads_the_certificate(tmp_path: Path) -> None:
    host = JOB.host_key("n1", 0, ["vn1-0", "10.213.0.2"], 2**31)
    for name, text in {"cert.pub": host.certificate, "key.pub": host.public, "ca.pub": authority(JOB)}.items():
        (tmp_path / name).write_text(text + "\n")
    prints = {
        name: subprocess.run(["ssh-keygen", "-lf", tmp_path / name], capture_output=True, text=True, check=True).stdout
        for name in ("key.pub", "ca.pub")
    }
    command, utc = ["ssh-keygen", "-Lf", tmp_path / "cert.pub"], {**os.environ, "TZ": "UTC"}
    lines = [
        line.strip()
        for line in subprocess.run(command, capture_output=True, text=True, check=True, env=utc).stdout.splitlines()
    ]
    assert "Type: ssh-ed25519-cert-v01@openssh.com host certificate" in lines
    assert f"Public key: ED25519-CERT {prints['key.pub'].split()[1]}" in lines
    assert f"Signing CA: ED25519 {prints['ca.pub'].split()[1]} (using ssh-ed25519)" in lines
    assert 'Key ID: "12"' in lines
    assert "Valid: before 2038-01-19T03:14:08" in lines
    names = lines.index("Principals:")
    assert lines[names + 1 : names + 3] == ["vn1-0", "10.213.0.2"]
    assert lines[names + 3] == "Critical Options: (none)"


def authority(keys: JobKeys) -> str:
    return keys.texts().authorities[0].removeprefix("@cert-authority * ")


def test_each_key_of_the_cluster_is_trusted_and_the_first_derives() -> None:
    old, new = JOB.texts(), replace(JOB, cluster_keys=(NEW,)).texts()
    both = replace(JOB, cluster_keys=(OLD, NEW))
    assert both.texts().public_keys == (*old.public_keys, *new.public_keys)
    assert both.texts().authorities == (*old.authorities, *new.authorities)
    assert derived(both)[0] == derived(JOB)[0]
    assert both.nonce("n1", 0) == JOB.nonce("n1", 0)


# --- the file -------------------------------------------------------------------------------------------------------


def key_file(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "cluster.key"
    path.write_text(text, encoding="latin-1")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (f"{OLD.hex()}\n", (OLD,)),
        (OLD.hex(), (OLD,)),
        (f"{NEW.hex().upper()}\n{OLD.hex()}\n", (NEW, OLD)),
    ],
)
def test_a_key_file(tmp_path: Path, text: str, keys: tuple[bytes, ...]) -> None:
    assert read_cluster_keys(key_file(tmp_path, text)) == keys
    assert read_cluster_keys(key_file(tmp_path, text, 0o400)) == keys


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 1),
        ("\n", 1),
        (f"{OLD.hex()}\n\n", 2),
        (f"{OLD.hex()}\r\n", 1),
        (f"{OLD.hex()[:-1]}\n", 1),
        (f"{OLD.hex()}0\n", 1),
        (f"{OLD.hex()}\n{NEW.hex()[:-1]}g\n", 2),
        (f"{OLD.hex()}\n # new\n", 2),
        (f"{OLD.hex()}\x85{NEW.hex()}\n", 1),
    ],
)
def test_a_damaged_line_is_named_and_not_shown(tmp_path: Path, text: str, number: int) -> None:
    with pytest.raises(Fault, match=rf"VT0935: line {number} of the cluster key .* is not 64") as caught:
        read_cluster_keys(key_file(tmp_path, text))
    assert OLD.hex()[:20] not in f"{caught.value}{caught.value.help}{caught.value.detail}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666])
def test_nobody_else_may_have_the_key(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, OLD.hex(), mode)
    with pytest.raises(Fault, match=f"VT0935: .* with mode {mode:04o}") as caught:
        read_cluster_keys(path)
    assert f"chmod 0600 {path}" in str(caught.value.help)


@pytest.mark.root
def test_the_key_is_roots(tmp_path: Path) -> None:
    path = key_file(tmp_path, OLD.hex())
    os.chown(path, 12345, 0)
    with pytest.raises(Fault, match=r"VT0935: .* it is uid 12345's"):
        read_cluster_keys(path)


def test_a_missing_key_is_told_with_the_way_to_one(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    with pytest.raises(Fault, match="VT0935: there is no cluster key") as caught:
        read_cluster_keys(path)
    assert f"(umask 077; openssl rand -hex 32 > {path})" in str(caught.value.help)
    assert "copy it to all nodes" in str(caught.value.help)


def test_a_link_a_directory_and_a_pipe_are_no_key(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(key_file(tmp_path, OLD.hex()))
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "directory").mkdir(mode=0o700)
    for name, why in (("link", "a symbolic link"), ("pipe", "not a regular file"), ("directory", "a directory")):
        with pytest.raises(Fault, match=f"(?i)VT0935: .* is {why}$"):
            read_cluster_keys(tmp_path / name)
