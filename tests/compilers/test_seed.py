"""The seed against PyYAML, cloud-init's schema, and cloud-init's own account code on a machine's real files."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.compilers.plans import BRIDGE, GUEST, GUESTS, HOME, with_login, with_machine
from vtorque_compilers.seed import compile_seed
from vtorque_compilers.seed.cloud_config import user_data
from vtorque_compilers.seed.yaml11 import to_yaml
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Filesystem, Group, HostKey, LinuxGuest

CLOUD_INIT_SCHEMA = Path("/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json")
ANY_GUEST = pytest.mark.parametrize("guest", GUESTS.values(), ids=GUESTS)


def files(guest: LinuxGuest) -> dict[str, str]:
    return {Path(artifact.path).name: artifact.text for artifact in compile_seed(guest)}


def config(guest: LinuxGuest) -> dict[str, Any]:
    return dict(yaml.safe_load(files(guest)["user-data"]))


def test_paths_and_modes() -> None:
    assert [(artifact.path, artifact.mode) for artifact in compile_seed(replace(GUEST, index=2))] == [
        ("vm2/seed/user-data", 0o600),
        ("vm2/seed/meta-data", 0o644),
        ("vm2/seed/network-config", 0o644),
    ]


@ANY_GUEST
def test_cloud_init_knows_the_file_by_its_first_line(guest: LinuxGuest) -> None:
    assert files(guest)["user-data"].startswith("#cloud-config\nbootcmd:")
    assert not any("%YAML" in text for text in files(guest).values())


@ANY_GUEST
def test_valid_by_cloud_inits_schema(guest: LinuxGuest) -> None:
    if not CLOUD_INIT_SCHEMA.exists():
        pytest.skip("cloud-init is not installed")
    jsonschema.Draft4Validator(json.loads(CLOUD_INIT_SCHEMA.read_text())).validate(config(guest))


@ANY_GUEST
def test_valid_by_cloud_inits_own_command(guest: LinuxGuest, tmp_path: Path) -> None:
    path = tmp_path / "user-data"
    path.write_text(files(guest)["user-data"])
    command = ["cloud-init", "schema", "--config-file", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("cloud-init is not installed")
    assert (done.returncode, done.stderr) == (0, "")
    assert "deprecat" not in done.stdout.lower()


@given(text=st.text())
def test_pyyaml_reads_any_text_back(text: str) -> None:
    data: dict[str, object] = {"value": text, "list": [text, [text]]}
    assert yaml.safe_load(to_yaml(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        "10:00:00",
        "on",
        "0777",
        "0o17",
        "1_000",
        "1:30",
        "=",
        "<<",
        "~",
        "y",
        "2026-11-22",
        "a\r\nb",
        "\n",
        " x\n y\n",
        "é\x85",
    ],
)
def test_what_yaml_1_1_would_misread_stays_text(text: str) -> None:
    assert yaml.safe_load(to_yaml({"value": text})) == {"value": text}


PLACES = {
    "nonce": lambda text: replace(GUEST, nonce=text),
    "hostname": lambda text: replace(GUEST, hostname=text),
    "private key": lambda text: replace(GUEST, host_key=HostKey(text, "k")),
    "public key": lambda text: replace(GUEST, host_key=HostKey("k", text)),
    "user": lambda text: with_login(user=text),
    "home": lambda text: with_login(home=text),
    "login key": lambda text: with_login(public_key=text),
    "group": lambda text: with_login(groups=(Group(text, 7),)),
    "mac": lambda text: with_machine(nic=replace(BRIDGE, mac=text)),
    "address": lambda text: with_machine(nic=replace(BRIDGE, address=text)),
    "tag": lambda text: with_machine(filesystems=(replace(HOME, tag=text),)),
    "target": lambda text: with_machine(filesystems=(replace(HOME, target=text),)),
}


@given(text=st.text() | st.text().map("/".__add__), place=st.sampled_from(sorted(PLACES)))
def test_any_text_comes_back_or_is_refused(text: str, place: str) -> None:
    guest = PLACES[place](text)
    try:
        found = config(guest)
    except Fault as fault:
        if fault.code != "VT0605":
            raise
        return
    assert found == user_data(guest)
    assert json.dumps(found).count("\\u0000") == 0


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("nonce", "../x"),
        ("nonce", "a b"),
        ("hostname", "a\nb"),
        ("private key", "é"),
        ("user", "root"),
        ("user", "a/../b"),
        ("user", "-x"),
        ("user", "alice\n"),
        ("home", "home"),
        ("home", "/home/a:b"),
        ("home", "/home/a\nb"),
        ("login key", "ssh-ed25519 A\nssh-ed25519 B"),
        ("mac", "52:54:00:00:00"),
        ("address", "10.0.0.1/8 x"),
        ("tag", "a b"),
        ("target", "/a b"),
        ("target", "a"),
        ("target", "/a\\040b"),
    ],
)
def test_what_would_be_something_else_in_the_guest(place: str, text: str) -> None:
    with pytest.raises(Fault, match="VT0605: a seed cannot carry"):
        compile_seed(PLACES[place](text))


def test_a_private_key_is_in_no_message() -> None:
    with pytest.raises(Fault) as caught:
        compile_seed(PLACES["private key"]("SECRETé"))
    assert "SECRET" not in str(caught.value)


def test_root_and_the_groupless_are_refused() -> None:
    for guest in (with_login(uid=0), with_login(groups=())):
        with pytest.raises(Fault, match="VT0605"):
            compile_seed(guest)


def test_the_user_has_no_way_to_root() -> None:
    found = config(GUEST)
    assert [user["name"] for user in found["users"]] == ["alice"]
    assert not {"sudo", "passwd", "ssh_authorized_keys"} & set(found["users"][0])
    assert found["users"][0]["lock_passwd"] is True
    sshd = next(file["content"] for file in found["write_files"] if "sshd_config" in file["path"])
    assert {"PermitRootLogin no", "PasswordAuthentication no"} < set(sshd.splitlines())


def test_nothing_below_the_home_is_written() -> None:
    written = {file["path"]: file["permissions"] for file in config(GUEST)["write_files"]}
    assert written == {"/etc/ssh/sshd_config.d/00-vtorque.conf": "0644", "/etc/ssh/vtorque/alice": "0644"}
    assert config(GUEST)["users"][0]["no_create_home"] is True


def test_parents_are_mounted_first() -> None:
    below = Filesystem("/b", "b", "/home/alice/data", True)
    found = config(with_machine(filesystems=(below, HOME)))["mounts"]
    assert [(line[0], line[1], line[3]) for line in found] == [
        ("home", "/home", "rw,nosuid,nodev,nofail"),
        ("b", "/home/alice/data", "ro,nosuid,nodev,nofail"),
    ]
    assert "mounts" not in config(GUEST)


def test_meta_data_and_network() -> None:
    user, bridge = files(GUEST), files(GUESTS["bridge"])
    assert yaml.safe_load(user["meta-data"]) == {"instance-id": GUEST.nonce, "local-hostname": GUEST.hostname}
    card = {"match": {"macaddress": BRIDGE.mac}, "dhcp6": False, "accept-ra": False}
    for text, addressing in (
        (user["network-config"], {"dhcp4": True}),
        (bridge["network-config"], {"dhcp4": False, "addresses": ["10.177.0.2/24"]}),
    ):
        assert yaml.safe_load(text) == {"version": 2, "ethernets": {"nic0": card | addressing}}


def test_a_nonce_of_digits_stays_text() -> None:
    assert yaml.safe_load(files(replace(GUEST, nonce="0123"))["meta-data"])["instance-id"] == "0123"
