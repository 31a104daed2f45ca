"""The user-data: what cloud-init does in the guest. https://cloudinit.readthedocs.io/en/latest/reference/modules.html

Module order that this counts on: bootcmd, write_files, mounts, users-groups, ssh, (sshd comes up,) runcmd.
"""

from pathlib import Path

from vtorque_compilers.seed.carried import NAME
from vtorque_spec.plan import Filesystem, Group, LinuxGuest, Login

SSHD_CONFIG = "/etc/ssh/sshd_config.d/00-vtorque.conf"
"""Sorts first: of several values sshd takes the first."""

KEYS = "/etc/ssh/vtorque"

_TEXTS = {name: Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("prepare.sh", "finish.sh")}
"""Read when this module is loaded: later the process may have become a user who cannot read this directory."""


def user_data(guest: LinuxGuest) -> dict[str, object]:
    """Return the cloud-config; nothing of the user's own text is in it."""
    mounts = [mount(filesystem) for filesystem in sorted(guest.machine.filesystems, key=lambda item: item.target)]
    return {
        "bootcmd": [prepare(guest)],
        "write_files": [
            {"path": SSHD_CONFIG, "permissions": "0644", "content": sshd_config()},
            {"path": f"{KEYS}/{guest.login.user}", "permissions": "0644", "content": guest.login.public_key + "\n"},
        ],
        **({"mounts": mounts} if mounts else {}),
        "users": [user(guest.login)],
        "ssh_deletekeys": False,
        "ssh_keys": {"ed25519_private": guest.host_key.private, "ed25519_public": guest.host_key.public},
        "runcmd": [finish(guest)],
    }


def prepare(guest: LinuxGuest) -> list[str]:
    """`bootcmd`: the gids (cloud-init's own `groups` can set none) and the home. Values are arguments, never text."""
    login = guest.login
    groups = [f"{group.gid}:{guest_name(group)}" for group in login.groups]
    return _script("prepare.sh", guest.nonce, login.user, str(login.uid), login.home, *groups)


def finish(guest: LinuxGuest) -> list[str]:
    """`runcmd`: proof that the boot is complete, for the host to read."""
    gids = "".join(f"{gid} " for gid in sorted({group.gid for group in guest.login.groups}))
    targets = [filesystem.target for filesystem in guest.machine.filesystems]
    return _script("finish.sh", guest.nonce, guest.login.user, str(guest.login.uid), gids, *targets)


def guest_name(group: Group) -> str:
    """Return the group's name, or one made from its gid where groupadd would not take it (`domain users`)."""
    return group.name if NAME.fullmatch(group.name) else f"vtorque-{group.gid}"


def mount(filesystem: Filesystem) -> list[str]:
    """One line of fstab. Nothing in a share makes root or a device; `nofail`: finish.sh says what is missing."""
    mode = "ro" if filesystem.read_only else "rw"
    return [filesystem.tag, filesystem.target, "virtiofs", f"{mode},nosuid,nodev,nofail", "0", "0"]


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
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "PermitRootLogin no\n"
    )


def _script(name: str, *arguments: str) -> list[str]:
    """Return a command in list form, which cloud-init quotes for its shell."""
    return ["sh", "-c", _TEXTS[name], name, *arguments]
