"""The seed against PyYAML, cloud-init's schema, and cloud-init's own account code on a machine's real files."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.compilers.plans import (
    ARCHIVE,
    BRIDGE,
    DATA,
    GUEST,
    GUESTS,
    HOME,
    SCRATCH,
    VMS,
    with_keys,
    with_login,
    with_machine,
)
from tests.spec.helpers import ROOT
from vtorque_compilers.seed import compile_names, compile_seed
from vtorque_compilers.seed.cloud_config import SSH_CONFIG, user_data
from vtorque_compilers.seed.yaml11 import to_yaml
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Group, HostKey, JobVm, LinuxGuest

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
    "private key": lambda text: replace(GUEST, host_key=HostKey(text, "k", "c")),
    "public key": lambda text: replace(GUEST, host_key=HostKey("k", text, "c")),
    "certificate": lambda text: replace(GUEST, host_key=HostKey("k", "p", text)),
    "user": lambda text: with_login(user=text),
    "home": lambda text: with_login(home=text),
    "login key": lambda text: with_keys(public_keys=("ssh-ed25519 AAAA", text)),
    "private login key": lambda text: with_keys(login_key=text),
    "authority": lambda text: with_keys(authorities=(text,)),
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
        ("certificate", "a\nb"),
        ("private login key", ""),
        ("authority", "a\nb"),
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


@pytest.mark.parametrize("place", ["private key", "private login key"])
def test_a_private_key_is_in_no_message(place: str) -> None:
    with pytest.raises(Fault) as caught:
        compile_seed(PLACES[place]("SECRETé"))
    assert "SECRET" not in str(caught.value)


def test_a_guest_that_nobody_could_enter_or_know_is_refused() -> None:
    for guest in (with_keys(public_keys=()), with_keys(authorities=())):
        with pytest.raises(Fault, match="VT0605"):
            compile_seed(guest)
    with pytest.raises(Fault, match="VT0605"):
        compile_names(())


@pytest.mark.parametrize("name", ["a b", "*", "!a", "a\nb", "", "-a"])
def test_a_name_that_would_be_something_else_in_the_guest(name: str) -> None:
    for vm in (JobVm("n3", 0, name, "10.177.0.34"), JobVm("n3", 0, "vn3-0", name)):
        with pytest.raises(Fault, match="VT0605: a seed cannot carry the name"):
            compile_names((*VMS, vm))


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
    assert written == {
        "/etc/ssh/sshd_config.d/00-vtorque.conf": "0644",
        "/etc/ssh/ssh_host_ed25519_key-cert.pub": "0644",
        "/etc/ssh/vtorque/alice": "0644",
        "/etc/ssh/vtorque/alice.key": "0600",
        "/etc/ssh/vtorque_known_hosts": "0644",
    }
    assert config(GUEST)["users"][0]["no_create_home"] is True


def test_parents_are_mounted_first() -> None:
    below = replace(DATA, tag="b", target="/home/alice/data")
    found = config(with_machine(filesystems=(below, HOME)))["mounts"]
    assert [(line[0], line[1], line[3]) for line in found] == [
        ("home", "/home", "rw,nosuid,nodev,nofail"),
        ("b", "/home/alice/data", "ro,nosuid,nodev,nofail"),
    ]
    assert "mounts" not in config(GUEST)


def test_every_way_to_mount_and_nothing_makes_root_or_a_device() -> None:
    found = {line[1]: line for line in config(GUESTS["every-way-to-mount"])["mounts"]}
    assert {target: (line[0], line[2]) for target, line in found.items()} == {
        "/home": ("home", "virtiofs"),
        "/data/sets": ("data", "virtiofs"),
        "/opt-hpc": ("sw", "9p"),
        "/archive": ("nas:/archive/alice", "nfs"),
    }
    assert all({"nosuid", "nodev", "nofail"} < set(line[3].split(",")) for line in found.values())
    assert found["/opt-hpc"][3] == "ro,nosuid,nodev,nofail,trans=virtio,version=9p2000.L,msize=262144"
    assert found["/archive"][3] == "rw,nosuid,nodev,nofail,noauto,_netdev,vers=4.2,hard"
    disk = ["/dev/disk/by-id/virtio-vdc", "/scratch", "ext4", "rw,nosuid,nodev,nofail", "0", "0"]
    assert config(GUESTS["disk"])["mounts"] == [disk]


LINES = {
    "source": lambda text: with_machine(filesystems=(replace(ARCHIVE, source=f"nas:/{text}"),)),
    "tag": lambda text: with_machine(filesystems=(replace(HOME, tag=text),)),
    "target": lambda text: with_machine(filesystems=(replace(HOME, target=f"/{text}"),)),
    "option": lambda text: with_machine(filesystems=(replace(ARCHIVE, options=("hard", text)),)),
    "mount": lambda text: replace(GUEST, disks=(replace(SCRATCH, mount=f"/{text}"),)),
    "disk": lambda text: replace(GUEST, disks=(replace(SCRATCH, target=text),)),
}


@given(text=st.text(min_size=1) | st.text(" \t,\\#a=/", min_size=1), place=st.sampled_from(sorted(LINES)))
@example("a b", "option")
@example("a,suid", "option")
@example("a b", "mount")
@example("\\040", "source")
@example("#", "tag")
@example("vdc-part1", "disk")
def test_a_line_of_fstab_has_six_fields_whatever_is_mounted(text: str, place: str) -> None:
    """Or it is refused. Who splits it, cloud-init (any white space) and mount (blanks, and octal escapes), agree."""
    guest = LINES[place](text)
    try:
        (line,) = config(guest)["mounts"]
    except Fault as fault:
        assert fault.code == "VT0605"  # noqa: PT017 - the other way out is below
        return
    assert " ".join(line).split() == "\t".join(line).split() == line
    assert line[0][0] != "#"
    assert "\\" not in line[0] + line[1]
    assert len(line[3].split(",")) == {"source": 8, "option": 8}.get(place, 4)
    assert text in line[{"source": 0, "tag": 0, "disk": 0, "target": 1, "mount": 1, "option": 3}[place]]


def test_programs_of_the_site_are_roots_alone() -> None:
    written = {file["path"]: file for file in config(GUESTS["setup"])["write_files"]}
    assert written["/etc/vtorque/boot"]["content"] == GUESTS["setup"].setup.boot
    assert written["/etc/vtorque/shutdown"]["content"] == GUESTS["setup"].setup.shutdown
    assert written["/etc/vtorque/updates"]["content"].startswith("#!/bin/sh\n")
    assert written["/etc/vtorque/packages"]["content"].startswith("#!/bin/sh\n")
    assert written["/etc/apt/vtorque.sources"]["content"] == GUESTS["setup"].setup.apt_sources
    assert {file["permissions"] for path, file in written.items() if path.startswith("/etc/vtorque/")} == {"0700"}
    assert not any(file["path"].startswith("/etc/vtorque/") for file in config(GUEST)["write_files"])


def test_scripts_are_shell() -> None:
    scripts = ROOT / "compilers/vtorque_compilers/seed"
    command = ["shellcheck", "--shell=sh", *sorted(map(str, scripts.glob("*.sh")))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("shellcheck is not installed")
    assert done.stdout == ""


def test_meta_data_and_network() -> None:
    user, network, bridge = files(GUEST), files(GUESTS["network"]), files(GUESTS["bridge"])
    assert yaml.safe_load(user["meta-data"]) == {"instance-id": GUEST.nonce, "local-hostname": GUEST.hostname}
    card = {"match": {"macaddress": BRIDGE.mac}, "dhcp6": False, "accept-ra": False}
    for text, addressing in (
        (user["network-config"], {"dhcp4": True}),
        (network["network-config"], {"dhcp4": False, "addresses": ["10.177.0.2/24"]}),
        (
            bridge["network-config"],
            {
                "dhcp4": False,
                "addresses": ["10.177.0.2/24"],
                "routes": [{"to": "0.0.0.0/0", "via": "10.177.0.254"}],
                "nameservers": {"addresses": ["10.0.0.53"], "search": ["example.org"]},
            },
        ),
    ):
        assert yaml.safe_load(text) == {"version": 2, "ethernets": {"nic0": card | addressing}}


def names(vms: Sequence[JobVm]) -> dict[str, str]:
    return {artifact.path: artifact.text for artifact in compile_names(vms)}


def test_all_guests_of_the_job_have_names() -> None:
    assert names(VMS)["seed/hosts"].splitlines() == ["10.177.0.2 vt-42-0", "10.177.0.18 vn2-0"]
    assert names([replace(vm, address=None) for vm in VMS])["seed/hosts"] == ""


@pytest.mark.parametrize(
    ("guest", "lines"), [("network", ["10.177.0.1 n1"]), ("user-nic", ["127.0.1.1 vt-42-0", "10.0.2.2 n1"])]
)
def test_the_host_has_a_name(guest: str, lines: list[str]) -> None:
    """And the guest itself, where nobody reaches it by its address."""
    command = config(GUESTS[guest])["bootcmd"][1]
    assert command[3:5] == ["names.sh", SSH_CONFIG]
    assert command[5].splitlines() == lines
    assert config(GUESTS[guest])["manage_etc_hosts"] is False


def test_a_seed_does_not_grow_with_the_job() -> None:
    """A table of thousands is plain text, once: in a seed cloud-init would read it for minutes."""
    many = [
        JobVm(f"n{node}", index, f"vn{node}-{index}", "10.20.255.255") for node in range(1000) for index in range(16)
    ]
    found = names(many)
    assert len(found["seed/hosts"].splitlines()) == 16_000
    assert found["seed/ssh_config"].count("Host ") == 1000
    assert max(map(len, found["seed/ssh_config"].splitlines())) < 1024
    assert "vn999-15" not in "".join(artifact.text for artifact in compile_seed(GUEST))


@pytest.mark.parametrize(
    ("guest", "told"),
    [
        ("network", ["", "", ""]),
        ("bridge", ["10.0.0.53", "example.org", "10.0.0.123"]),
        ("user-nic", ["", "", ""]),
        ("user-nic-with-a-way-out", ["10.0.2.3", "", ""]),
    ],
)
def test_name_servers_and_time_servers_are_told(guest: str, told: list[str]) -> None:
    assert config(GUESTS[guest])["bootcmd"][2][3:] == ["network.sh", *told]


@pytest.mark.parametrize("changes", [{"dns": ("a b",)}, {"search": ("a\nb",)}, {"ntp": ("-x",)}, {"gateway": "x"}])
def test_a_network_that_a_seed_cannot_carry(changes: dict[str, Any]) -> None:
    with pytest.raises(Fault, match="VT0605"):
        compile_seed(with_machine(nic=replace(BRIDGE, **changes)))


def test_a_nonce_of_digits_stays_text() -> None:
    assert yaml.safe_load(files(replace(GUEST, nonce="0123"))["meta-data"])["instance-id"] == "0123"
