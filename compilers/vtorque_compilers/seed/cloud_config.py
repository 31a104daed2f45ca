"""The user-data: what cloud-init does in the guest. https://cloudinit.readthedocs.io/en/latest/reference/modules.html

Module order that this counts on: bootcmd, write_files, mounts, users-groups, ssh, (sshd comes up,) runcmd.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from vtorque_compilers.seed.carried import NAME
from vtorque_compilers.seed.network import own_hosts, services
from vtorque_spec.plan import DataDisk, Filesystem, Group, GuestSetup, JobVm, LinuxGuest, Login

SSHD_CONFIG = "/etc/ssh/sshd_config.d/00-vtorque.conf"
"""Sorts first: of several values sshd takes the first."""

SSH_CONFIG = "/etc/ssh/ssh_config.d/00-vtorque.conf"
KEYS = "/etc/ssh/vtorque"
KNOWN_HOSTS = "/etc/ssh/vtorque_known_hosts"
CERTIFICATE = "/etc/ssh/ssh_host_ed25519_key-cert.pub"

PROGRAMS = "/etc/vtorque"
"""What the site runs in the guest."""

APT_SOURCES = "/etc/apt/vtorque.sources"
APT_CONF = "/etc/apt/apt.conf.d/99vtorque"
DNF_REPOS = "/etc/dnf/vtorque.repos.d/vtorque.repo"
DNF_CONF = "/etc/dnf/dnf.conf"
"""Has no directory of drop-ins in dnf 4: a line is added."""

_KIND_OPTIONS = {
    "virtiofs": (),
    "9p": ("trans=virtio", "version=9p2000.L", "msize=262144"),
    "nfs": ("noauto", "_netdev"),
}

_SCRIPTS = (
    *("prepare.sh", "names.sh", "network.sh", "sshd.sh", "finish.sh"),
    *("updates_apt.sh", "updates_dnf.sh", "packages_apt.sh", "packages_dnf.sh"),
)
_TEXTS = {name: Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _SCRIPTS}
"""Read when this module is loaded: later the process may have become a user who cannot read this directory."""


def user_data(guest: LinuxGuest) -> dict[str, object]:
    """Return the cloud-config; nothing of the user's own text is in it."""
    mounts = [mount(filesystem) for filesystem in guest.machine.filesystems] + [
        mount_disk(disk) for disk in guest.disks
    ]
    mounts.sort(key=lambda line: line[1])
    return {
        "bootcmd": [
            prepare(guest),
            _script("names.sh", SSH_CONFIG, own_hosts(guest)),
            _script("network.sh", *services(guest.machine.nic)),
            _script("sshd.sh", sshd_config()),
        ],
        "write_files": files(guest),
        "manage_etc_hosts": False,
        **({"mounts": mounts} if mounts else {}),
        "users": [user(guest.login)],
        "ssh_deletekeys": False,
        "ssh_keys": {"ed25519_private": guest.host_key.private, "ed25519_public": guest.host_key.public},
        "runcmd": [finish(guest)],
    }


def files(guest: LinuxGuest) -> list[dict[str, object]]:
    """`write_files`: how the user comes in, and from here into the job's other guests.

    All are root's, for the user is not there yet; finish.sh hands over the one that is the user's.
    """
    user, keys = guest.login.user, guest.keys
    return [
        {"path": path, "permissions": mode, "content": content, **({"append": True} if path == DNF_CONF else {})}
        for path, mode, content in (
            (SSHD_CONFIG, "0644", sshd_config()),
            (CERTIFICATE, "0644", guest.host_key.certificate + "\n"),
            (f"{KEYS}/{user}", "0644", _lines(keys.public_keys)),
            (f"{KEYS}/{user}.key", "0600", keys.login_key),
            (KNOWN_HOSTS, "0644", _lines(keys.authorities)),
            *((path, "0644", text) for path, text in sources(guest.setup)),
            *((f"{PROGRAMS}/{name}", "0700", text) for name, text in programs(guest.setup)),
        )
    ]


def sources(setup: GuestSetup) -> Iterator[tuple[str, str]]:
    """Where the site has packages from, in the place of what the image says.

    sources.list(5) and apt.conf(5); https://dnf.readthedocs.io/en/latest/conf_ref.html
    """
    if setup.packager == "apt" and setup.apt_sources is not None:
        yield APT_SOURCES, setup.apt_sources
        yield APT_CONF, f'Dir::Etc::SourceList "{APT_SOURCES}";\nDir::Etc::SourceParts "/dev/null";\n'
    if setup.packager == "dnf" and setup.dnf_repos is not None:
        yield DNF_REPOS, setup.dnf_repos
        yield DNF_CONF, f"\n[main]\nreposdir={DNF_REPOS.rpartition('/')[0]}\n"


def programs(setup: GuestSetup) -> Iterator[tuple[str, str]]:
    """What the guest's root runs: finish.sh updates, packages and the site's `boot`, the guest agent `shutdown`."""
    if setup.updates == "security":
        yield "updates", _TEXTS[f"updates_{setup.packager}.sh"]
    if setup.packages:
        yield "packages", _TEXTS[f"packages_{setup.packager}.sh"]
    if setup.boot is not None:
        yield "boot", setup.boot
    if setup.shutdown is not None:
        yield "shutdown", setup.shutdown


def prepare(guest: LinuxGuest) -> list[str]:
    """`bootcmd`: the gids (cloud-init's own `groups` can set none) and the home. Values are arguments, never text."""
    login = guest.login
    groups = [f"{group.gid}:{guest_name(group)}" for group in login.groups]
    return _script("prepare.sh", guest.nonce, login.user, str(login.uid), login.home, *groups)


def finish(guest: LinuxGuest) -> list[str]:
    """`runcmd`: proof that the boot is complete, for the host to read."""
    gids = "".join(f"{gid} " for gid in sorted({group.gid for group in guest.login.groups}))
    targets = [item.target for item in guest.machine.filesystems] + [disk.mount for disk in guest.disks]
    packages = "".join(f"{package} " for package in guest.setup.packages)
    return _script("finish.sh", guest.nonce, guest.login.user, str(guest.login.uid), gids, packages, *targets)


def guest_name(group: Group) -> str:
    """Return the group's name, or one made from its gid where groupadd would not take it (`domain users`)."""
    return group.name if NAME.fullmatch(group.name) else f"vtorque-{group.gid}"


def mount(filesystem: Filesystem) -> list[str]:
    """One line of fstab. Nothing in a share makes root or a device.

    `nofail`: finish.sh says what is missing; `noauto`: it mounts that itself.
    """
    mode = "ro" if filesystem.read_only else "rw"
    source = filesystem.source if filesystem.kind == "nfs" else filesystem.tag
    options = ",".join((mode, "nosuid,nodev,nofail", *_KIND_OPTIONS[filesystem.kind], *filesystem.options))
    return [source, filesystem.target, filesystem.kind, options, "0", "0"]


def mount_disk(disk: DataDisk) -> list[str]:
    """One line of fstab, for a further disk. The host made its file system; the link is udev's, by the serial."""
    return [f"/dev/disk/by-id/virtio-{disk.target}", disk.mount, "ext4", "rw,nosuid,nodev,nofail", "0", "0"]


def user(login: Login) -> dict[str, object]:
    """The account, groups by number: under which name the guest knows a gid is up to its image."""
    primary = login.groups[0].gid
    others = sorted({group.gid for group in login.groups} - {primary})
    return {
        "name": login.user,
        "uid": login.uid,
        "primary_group": str(primary),
        **({"groups": [str(gid) for gid in others]} if others else {}),
        "create_groups": False,
        "no_user_group": True,
        "homedir": login.home,
        "no_create_home": True,
        "shell": "/bin/bash",
        "lock_passwd": True,
    }


def sshd_config() -> str:
    """Keys are root's to give, and nothing but a key opens the guest."""
    return (
        f"AuthorizedKeysFile {KEYS}/%u\n"
        f"HostCertificate {CERTIFICATE}\n"
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "PermitRootLogin no\n"
    )


def ssh_config(vms: Sequence[JobVm]) -> str:
    """The client's part, for the guests of the job alone: what the user has for other hosts stays as it is.

    A block for each node: for one line with thousands of names each ssh takes seconds.
    """
    settings = (
        f"    IdentityFile {KEYS}/%u.key\n"
        "    IdentitiesOnly yes\n"
        f"    GlobalKnownHostsFile {KNOWN_HOSTS}\n"
        "    UserKnownHostsFile /dev/null\n"
        "    StrictHostKeyChecking yes\n"
        "    UpdateHostKeys no\n"
    )
    nodes = (" ".join(name for vm in own for name in vm.names) for _, own in groupby(vms, lambda vm: vm.node))
    return "".join(f"Host {names}\n{settings}" for names in nodes)


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _script(name: str, *arguments: str) -> list[str]:
    """Return a command in list form, which cloud-init quotes for its shell."""
    return ["sh", "-c", _TEXTS[name], name, *arguments]
