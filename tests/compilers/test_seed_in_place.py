"""The seed's commands, run by cloud-init's own code on a copy of this machine's account files."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.compilers.plans import GUEST, HOME, with_login, with_machine
from tests.spec.helpers import ROOT
from vtorque_compilers.seed import compile_seed
from vtorque_spec.plan import Group, GuestSetup, LinuxGuest

pytestmark = pytest.mark.root

PYTHON = Path("/usr/bin/python3")
CLOUD_INIT = Path("/usr/lib/python3/dist-packages/cloudinit")
UUID = "6F6A9F5E-8F0F-4C4F-9A3E-1D7A7C3F0A11"

ENTER = """
scratch=$1; shift
for folder in passwd group shadow gshadow login.defs nsswitch.conf; do cp -a /etc/$folder "$scratch/etc/"; done
cp -a /etc/pam.d /etc/security /etc/default /etc/ld.so.cache /etc/alternatives /etc/ssl "$scratch/etc/" 2>/dev/null || :
cat "$scratch/passwd" >>"$scratch/etc/passwd"
cat "$scratch/group" >>"$scratch/etc/group"
mount --bind "$scratch/etc" /etc
mkdir -p /var/lib/cloud
for folder in /home /run /mnt /sys/class /var/lib/cloud; do mount -t tmpfs none "$folder"; done
mkdir -p /sys/class/dmi/id /var/lib/cloud/data
echo %s >/sys/class/dmi/id/product_uuid
echo INSTANCE >/var/lib/cloud/data/instance-id
: >"$scratch/console"
mount --bind "$scratch/console" /dev/console
exec "$@"
""" % UUID  # fmt: skip # noqa: UP031 - the shell's braces

CLOUD_INIT_RUN = """
import os, subprocess, sys, yaml
from cloudinit import distros, util
from cloudinit.distros import ug_util
config = yaml.safe_load(open(sys.argv[1]))
def run(commands):
    return subprocess.run(["sh", "-c", util.shellify(commands)]).returncode
prepared = run([command for command in config["bootcmd"] if "names.sh" not in command])  # there is no volume here
for file in config["write_files"]:
    os.makedirs(os.path.dirname(file["path"]), exist_ok=True)
    with open(file["path"], "a" if file.get("append") else "w") as target:
        target.write(file["content"])
    os.chmod(file["path"], int(file["permissions"], 8))
distro = distros.fetch(sys.argv[2])(sys.argv[2], {}, None)
users, _ = ug_util.normalize_users_groups(config, distro)
for name, settings in users.items():
    try:
        distro.create_user(name, **settings)
    except Exception as error:  # cloud-init logs what a module raises, and goes on with the next one
        print(error, file=sys.stderr)
print("prepare", prepared, "finish", run(config["runcmd"]))
"""

REPORT = """
%s -c "$1" "$2" "$5"
id -u "$3"; id -G "$3"; getent passwd "$3" | cut -d: -f6,7; getent shadow "$3" | cut -d: -f2
stat -c '%%u:%%g %%a' "$4" /run/vtorque/job /run/vtorque/boot
cat /run/vtorque/boot
""" % PYTHON  # fmt: skip # noqa: UP031 - as above


class Result:
    """What a guest made by the seed looks like, and what it wrote on its console."""

    def __init__(self, output: list[str], console: str) -> None:
        self.output = output
        self.console = console.splitlines()


def booted(
    guest: LinuxGuest, tmp_path: Path, passwd: str = "", group: str = "", before: str = ":", distro: str = "debian"
) -> Result:
    """Run the seed where the image's account files end in `passwd` and `group`; `before` is shell text to run first.

    `distro` is what cloud-init takes the image for.
    """
    if not CLOUD_INIT.exists():
        pytest.skip("cloud-init is not installed")
    (tmp_path / "etc").mkdir()
    for name, text in (("passwd", passwd), ("group", group), ("user-data", compile_seed(guest)[0].text)):
        (tmp_path / name).write_text(text)
    arguments = [CLOUD_INIT_RUN, str(tmp_path / "user-data"), guest.login.user, guest.login.home, distro]
    inside = ["sh", "-c", f"{before}\n{REPORT}", "report", *arguments]
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", ENTER, "enter", str(tmp_path), *inside]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stderr)
    return Result(done.stdout.splitlines(), (tmp_path / "console").read_text())


def expected(guest: LinuxGuest) -> list[str]:
    """What `booted` returns where everything is right."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    login = guest.login
    primary, *others = (group.gid for group in login.groups)
    return [
        "prepare 0 finish 0",
        str(login.uid),
        " ".join(map(str, [primary, *sorted(others)])),
        f"{login.home}:/bin/bash",
        "!",
        f"{login.uid}:{primary} 700",
        f"{login.uid}:{primary} 700",
        "0:0 644",
        f"token={guest.nonce}",
        "instance_id=INSTANCE",
        f"product_uuid={UUID.lower()}",
        f"boot_id={boot_id}",
    ]


IMAGES = {
    "nothing-there": ("", ""),
    "gid-under-another-name": ("", "systemd-foo:x:54321:\nsystemd-bar:x:999:\n"),
    "name-with-another-gid": ("", "hpc:x:700:\ndocker:x:701:\n"),
    "both": ("", "hpc:x:999:\ndocker:x:54321:\n"),
    "user-with-another-uid": ("alice:x:4242:4242::/home/alice:/bin/sh\n", "alice:x:4242:\nmighty:x:702:alice\n"),
    "uid-under-another-name": ("debian:x:12345:4242::/home/debian:/bin/sh\n", "debian:x:4242:\nmighty:x:702:debian\n"),
    "the-same-account": ("alice:x:12345:54321::/home/alice:/bin/sh\n", "hpc:x:54321:\nmighty:x:702:alice\n"),
}


@pytest.mark.parametrize(("passwd", "group"), IMAGES.values(), ids=IMAGES)
def test_numbers_are_right_whatever_the_image_holds(passwd: str, group: str, tmp_path: Path) -> None:
    found = booted(GUEST, tmp_path, passwd, group)
    assert found.output == expected(GUEST)
    assert found.console == [f"vtorque-phase: {phase} {GUEST.nonce}" for phase in ("cloud-init", "mounts", "ready")]


@pytest.mark.parametrize("name", ["domain users", "é", "x" * 40, "-o", "a:b", ""])
def test_group_names_that_groupadd_refuses(name: str, tmp_path: Path) -> None:
    guest = with_login(groups=(Group("hpc", 54321), Group(name, 998_877)))
    assert booted(guest, tmp_path).output == expected(guest)


def test_values_are_no_shell_text(tmp_path: Path) -> None:
    guest = with_login(home="/home/al'ice \"$(touch /mnt/x)`id`;& \\")
    found = booted(guest, tmp_path, before="trap 'ls /mnt' EXIT")
    assert found.output == expected(guest)


def test_a_home_of_the_images_is_handed_over(tmp_path: Path) -> None:
    found = booted(GUEST, tmp_path, before="mkdir -m 0755 /home/alice; chown 4242:4242 /home/alice")
    assert found.output == expected(GUEST)


def test_a_directory_of_the_systems_is_not_given_away(tmp_path: Path) -> None:
    guest = with_login(home="/mnt")
    right = expected(guest)
    right[5] = "0:0 755"
    assert booted(guest, tmp_path, before="chmod 0755 /mnt").output == right


def test_a_mount_that_is_missing_is_named_and_no_token_given(tmp_path: Path) -> None:
    missing = replace(HOME, tag="gone", target="/data")
    found = booted(with_machine(filesystems=(HOME, missing)), tmp_path)
    assert found.output[0] == "prepare 0 finish 1"
    assert found.console == [
        f"vtorque-phase: cloud-init {GUEST.nonce}",
        f"vtorque-phase: mounts {GUEST.nonce}",
        "mount: /data: can't find in /etc/fstab.",
        f"vtorque-phase: mounts-failed /data {GUEST.nonce}",
    ]
    assert not any(line.startswith("token=") for line in found.output)


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """Here mounting it never ends, and the clock runs fast."""
    (tmp_path / "mount").write_text('#!/bin/sh\n[ "$1" = /data ] && exec sleep 1000\nexec /run/mount "$@"\n')
    (tmp_path / "mount").chmod(0o755)
    (tmp_path / "timeout").write_text('#!/bin/sh\n[ "$3" = 30 ] && shift 3 && exec /run/timeout 0.1 "$@"\n')
    (tmp_path / "timeout").chmod(0o755)
    before = (
        "cp /usr/bin/timeout /usr/bin/mount /run; echo nas:/a/alice /data nfs noauto 0 0 >>/etc/fstab;"
        f"mount --bind {tmp_path}/timeout /usr/bin/timeout; mount --bind {tmp_path}/mount /usr/bin/mount"
    )
    missing = replace(HOME, tag="gone", target="/data")
    found = booted(with_machine(filesystems=(missing,)), tmp_path, before=before)
    assert found.output[0] == "prepare 0 finish 1"
    assert found.console[2:] == [
        f"vtorque-phase: mounts-failed /data: nas:/a/alice did not answer within 30 s {GUEST.nonce}"
    ]


def test_an_account_that_is_not_right_is_named_and_no_token_given(tmp_path: Path) -> None:
    found = booted(GUEST, tmp_path, before="mount --bind /bin/false /usr/sbin/groupadd")
    assert found.console[-1] == f"vtorque-phase: user-failed alice {GUEST.nonce}"
    assert not any(line.startswith("token=") for line in found.output)


def with_boot_hook(text: str, updates: Literal["none", "security"] = "none") -> LinuxGuest:
    return replace(GUEST, setup=GuestSetup(None, updates, (), text, None))


def test_the_sites_hook_runs_as_root_before_the_token(tmp_path: Path) -> None:
    guest = with_boot_hook("#!/bin/sh\nid -u\n[ ! -e /run/vtorque/boot ] && echo before the token\n")
    found = booted(guest, tmp_path)
    assert found.output[0] == "prepare 0 finish 0"
    assert found.console[2:] == [
        f"vtorque-phase: hooks {GUEST.nonce}",
        "0",
        "before the token",
        f"vtorque-phase: ready {GUEST.nonce}",
    ]


def test_a_hook_that_fails_is_told_and_no_token_given(tmp_path: Path) -> None:
    found = booted(with_boot_hook("#!/bin/sh\necho why >&2\nexit 3\n"), tmp_path)
    assert found.output[0] == "prepare 0 finish 1"
    assert found.console[-2:] == ["why", f"vtorque-phase: hooks-failed 3 {GUEST.nonce}"]
    assert not any(line.startswith("token=") for line in found.output)


def test_updates_come_before_the_hook_and_fail_visibly(tmp_path: Path) -> None:
    """Here apt-get is one that has no network."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho no network\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    before = f"mount --bind {tmp_path}/apt-get /usr/bin/apt-get"
    found = booted(with_boot_hook("#!/bin/sh\necho hook\n", "security"), tmp_path, before=before)
    assert found.console[2:] == [
        f"vtorque-phase: updates {GUEST.nonce}",
        "no network",
        f"vtorque-phase: updates-failed 100 {GUEST.nonce}",
    ]


APT_GET = """#!/bin/sh
echo "apt-get $*"
case "$*" in
    *update) exit $(cat /run/update) ;;
    *nosuch*) exit 100 ;;
esac
"""
DPKG_QUERY = "#!/bin/sh\n[ $4 = virtual ] || echo installed\n"


@pytest.mark.parametrize(
    ("packages", "update", "failed"),
    [
        ("g++ tool", 0, ""),
        ("nosuch tool", 0, "nosuch"),
        ("nosuch1 nosuch2 tool", 0, "nosuch1 nosuch2"),
        ("tool virtual", 0, "virtual"),
        ("nosuch tool", 100, "nosuch"),
        ("g++ tool", 100, "g++ tool"),
    ],
)
def test_packages_that_cannot_be_installed_are_named(packages: str, update: int, failed: str, tmp_path: Path) -> None:
    """By an apt that has no package whose name begins with nosuch, and for `virtual` installs another."""
    before = f"echo {update} >/run/update"
    for name, text in (("apt-get", APT_GET), ("dpkg-query", DPKG_QUERY)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
        before += f"; mount --bind {tmp_path}/{name} /usr/bin/{name}"
    setup = GuestSetup(None, "none", tuple(packages.split()), "#!/bin/sh\necho hook\n", None)
    found = booted(replace(GUEST, setup=setup), tmp_path, before=before)
    assert found.console[2] == f"vtorque-phase: packages {GUEST.nonce}"
    assert found.console[3].startswith("apt-get ")
    if failed:
        assert found.console[-1] == f"vtorque-phase: packages-failed {failed} {GUEST.nonce}"
        assert found.output[0] == "prepare 0 finish 1"
    else:
        assert found.console[4].endswith(f"--no-install-recommends -o APT::Cmd::Pattern-Only=true install {packages}")
        assert found.console[-2:] == ["hook", f"vtorque-phase: ready {GUEST.nonce}"]


def test_updates_are_those_of_security_alone(tmp_path: Path) -> None:
    """By this machine's own apt, on its own lists: what it would install."""
    text = (ROOT / "compilers/vtorque_compilers/seed/updates_apt.sh").read_text()
    lists = Path("/var/lib/apt/lists")
    if not any(lists.glob("*security*Packages*")):
        pytest.skip("apt has no list of a security archive here")
    text = text.replace("apt-get -q -o APT::Update::Error-Mode=any update", ":").replace("-q -y", "-s")
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    installed = [line for line in done.stdout.splitlines() if line.startswith("Inst ") and "[" in line]
    assert [line for line in installed if "ecurity" not in line] == []
