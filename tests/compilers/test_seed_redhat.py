"""Seeds of guests of Red Hat's family, by cloud-init's own modules for them; dnf is one that is told what to say."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from tests.compilers.plans import BRIDGE, GUEST, GUESTS, NAT, NETWORK, REDHAT_SETUP, USER, with_machine
from tests.compilers.test_seed_in_place import CLOUD_INIT, PYTHON, Result, booted, expected
from vtorque_compilers.seed import compile_seed
from vtorque_spec.plan import GuestSetup, LinuxGuest, TapNic, UserNic

GOLDEN = Path(__file__).parent / "golden" / "redhat.user-data.yaml"
DISTROS = ("almalinux", "centos", "fedora", "rhel", "rocky")


def written(guest: LinuxGuest) -> dict[str, dict[str, Any]]:
    config = yaml.safe_load(compile_seed(guest)[0].text)
    return {file["path"]: file for file in config["write_files"]}


# --- the account and the network --------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("distro", DISTROS)
def test_the_account_is_right(distro: str, tmp_path: Path) -> None:
    assert booted(GUEST, tmp_path, distro=distro).output == expected(GUEST)


RENDER = """
import json, sys, yaml
from unittest import mock
from cloudinit import distros, net
from cloudinit.net import network_state, network_manager, sysconfig
distro = distros.fetch(sys.argv[2])(sys.argv[2], {}, None)
renderer = {"sysconfig": sysconfig, "network-manager": network_manager}[sys.argv[3]]
with mock.patch.object(network_state, "get_interfaces_by_mac", lambda: {sys.argv[4]: "ens3"}), \\
     mock.patch.object(network_state, "find_interface_name_from_mac", lambda mac: {sys.argv[4]: "ens3"}.get(mac)):
    state = network_state.parse_net_config_data(yaml.safe_load(sys.stdin), renderer=None)
    renderer.Renderer(distro.renderer_configs.get("sysconfig")).render_network_state(state, target=sys.argv[1])
"""


def rendered(nic: TapNic | UserNic, distro: str, renderer: str, root: Path) -> set[str]:
    """The lines of all that cloud-init makes of a seed's network-config, for the card ens3."""
    if not CLOUD_INIT.exists():
        pytest.skip("cloud-init is not installed")
    text = compile_seed(with_machine(nic=nic))[2].text
    command = [str(PYTHON), "-c", RENDER, str(root), distro, renderer, nic.mac]
    subprocess.run(command, input=text, text=True, check=True)
    files = [path for path in root.rglob("*") if path.is_file()]
    return {f"{path.name}: {line}" for path in files for line in path.read_text().splitlines()}


@pytest.mark.parametrize("distro", DISTROS)
def test_the_network_as_sysconfig_has_it(distro: str, tmp_path: Path) -> None:
    found = rendered(BRIDGE, distro, "sysconfig", tmp_path)
    for line in ("BOOTPROTO=none", "DEVICE=ens3", f"HWADDR={BRIDGE.mac}", f"IPADDR={BRIDGE.address}", "ONBOOT=yes",
                 f"GATEWAY={BRIDGE.gateway}", f"DNS1={BRIDGE.dns[0]}", f"DOMAIN={BRIDGE.search[0]}"):  # fmt: skip
        assert f"ifcfg-ens3: {line}" in found


@pytest.mark.parametrize("distro", DISTROS)
def test_the_network_as_network_manager_has_it(distro: str, tmp_path: Path) -> None:
    name = "cloud-init-ens3.nmconnection"
    found = rendered(NAT, distro, "network-manager", tmp_path)
    for line in ("method=manual", f"address1={NAT.address}/{NAT.prefix}", f"mac-address={NAT.mac.upper()}",
                 f"route1=0.0.0.0/0,{NAT.gateway}", f"dns={NAT.dns[0]};"):  # fmt: skip
        assert f"{name}: {line}" in found
    alone = rendered(NETWORK, distro, "network-manager", tmp_path / "alone")
    assert not [line for line in alone if "route" in line or "dns=" in line]
    assert f"{name}: method=auto" in rendered(USER, distro, "network-manager", tmp_path / "user")


# --- where packages come from -----------------------------------------------------------------------------------------


def test_dnf_has_the_sites_repositories_and_no_others() -> None:
    found = written(GUESTS["redhat"])
    assert found["/etc/dnf/vtorque.repos.d/vtorque.repo"]["content"] == REDHAT_SETUP.dnf_repos
    conf = found["/etc/dnf/dnf.conf"]
    assert (conf["content"], conf["append"]) == ("\n[main]\nreposdir=/etc/dnf/vtorque.repos.d\n", True)
    assert not any("/apt/" in path for path in found)
    without = written(replace(GUEST, setup=replace(REDHAT_SETUP, dnf_repos=None)))
    assert not any("/dnf/" in path for path in without)
    assert not any("/dnf/" in path for path in written(replace(GUEST, setup=replace(REDHAT_SETUP, packager="apt"))))


def test_golden(update_golden: bool) -> None:
    text = compile_seed(GUESTS["redhat"])[0].text
    if update_golden:
        GOLDEN.write_text(text)
    assert GOLDEN.read_text() == text


DNF = """#!/bin/sh
echo "dnf $*"
case "$*" in
    *nosuch* | *conflict*) echo "Error: no" >&2; exit 1 ;;
    *--assumeno*) echo "Operation aborted." >&2; exit 1 ;;
    *" install "*) touch /run/installed ;;
    *upgrade*) [ ! -e /run/advisories ] || { mkdir -p /var/cache/dnf/r/repodata && cd /var/cache/dnf/r/repodata &&
        echo x >1-updateinfo.xml.gz; } ;;
esac
"""
RPM = "#!/bin/sh\n[ $2 = here ] || { [ $2 != virtual ] && [ -e /run/installed ]; }\n"
STUBS = (
    "for folder in /var/cache /usr/local/bin; do mount -t tmpfs none $folder; done; cp {0}/dnf {0}/rpm /usr/local/bin"
)


def with_dnf(
    tmp_path: Path, packages: str = "", updates: Literal["none", "security"] = "none", before: str = ":"
) -> Result:
    for name, text in (("dnf", DNF), ("rpm", RPM)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    setup = GuestSetup(None, updates, tuple(packages.split()), "#!/bin/sh\necho hook\n", None, packager="dnf")
    return booted(replace(GUEST, setup=setup), tmp_path, before=f"{STUBS.format(tmp_path)}; {before}", distro="rocky")


@pytest.mark.root
@pytest.mark.parametrize(
    ("packages", "failed"),
    [
        ("R perl-Time-HiRes", ""),
        ("nosuch R", "nosuch"),
        ("nosuch1 nosuch2 R", "nosuch1 nosuch2"),
        ("R virtual", "virtual"),
        ("R conflict", "conflict"),
        ("here nosuch", "nosuch"),
    ],
)
def test_packages_that_cannot_be_installed_are_named(packages: str, failed: str, tmp_path: Path) -> None:
    """By a dnf that has no package whose name begins with nosuch, and for `virtual` installs another."""
    found = with_dnf(tmp_path, packages)
    assert found.console[2] == f"vtorque-phase: packages {GUEST.nonce}"
    assert found.console[3].startswith("dnf -q -y ")
    assert found.console[3].endswith(f"--setopt=install_weak_deps=False install {packages}")
    if failed:
        assert found.console[-1] == f"vtorque-phase: packages-failed {failed} {GUEST.nonce}"
        assert found.output[0] == "prepare 0 finish 1"
    else:
        assert found.console[-2:] == ["hook", f"vtorque-phase: ready {GUEST.nonce}"]


@pytest.mark.root
def test_updates_are_those_of_security_alone(tmp_path: Path) -> None:
    found = with_dnf(tmp_path, updates="security", before="touch /run/advisories")
    assert found.console[2] == f"vtorque-phase: updates {GUEST.nonce}"
    assert "--security" in found.console[3].split()
    assert found.console[-2:] == ["hook", f"vtorque-phase: ready {GUEST.nonce}"]


@pytest.mark.root
def test_repositories_that_do_not_tell_what_is_for_security_fail_the_boot(tmp_path: Path) -> None:
    found = with_dnf(tmp_path, updates="security")
    assert found.console[-2:] == [
        "security updates: no repository of this image says which updates are for security",
        f"vtorque-phase: updates-failed 1 {GUEST.nonce}",
    ]


# --- sshd of OpenSSH 8.0, which can include no file -------------------------------------------------------------------

OLD = "Port 22\nPasswordAuthentication yes\nAuthorizedKeysFile .ssh/authorized_keys\nSubsystem sftp internal-sftp\n"


def settings_of_sshd(tmp_path: Path, config: str) -> tuple[str, dict[str, str]]:
    """What is in sshd_config after the boot, and what sshd (without what that includes) makes of it."""
    if not Path("/usr/sbin/sshd").exists():
        pytest.skip("openssh-server is not installed")
    commands = yaml.safe_load(compile_seed(GUEST)[0].text)["bootcmd"]
    script = next(command for command in commands if command[3] == "sshd.sh")
    file = tmp_path / "sshd_config"
    file.write_text(config)
    subprocess.run(["sh", "-c", script[2].replace("/etc/ssh/sshd_config", str(file), 1), *script[3:]], check=True)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    plain = tmp_path / "plain"
    plain.write_text("".join(line + "\n" for line in file.read_text().splitlines() if "HostCertificate" not in line))
    command = ["/usr/sbin/sshd", "-T", "-f", str(plain), "-h", str(key)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return file.read_text(), dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_an_sshd_that_includes_nothing_has_the_settings_in_its_own_file(tmp_path: Path) -> None:
    text, found = settings_of_sshd(tmp_path, OLD)
    assert text.endswith(OLD)
    assert found["authorizedkeysfile"] == "/etc/ssh/vtorque/%u"
    assert (found["passwordauthentication"], found["permitrootlogin"]) == ("no", "no")


def test_an_sshd_that_includes_its_drop_ins_is_left_alone(tmp_path: Path) -> None:
    config = "# sshd\n  include /etc/ssh/sshd_config.d/*.conf\n" + OLD
    assert settings_of_sshd(tmp_path, config)[0] == config
