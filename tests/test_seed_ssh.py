"""A seed's sshd and ssh settings, and the keys that derive for it, with the real sshd and the real ssh.

The files that cloud-init would write stand below a directory; ssh talks to `sshd -i` through a pair of pipes.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compilers.plans import GUEST, VMS
from vtorque_compilers.seed.cloud_config import SSH_CONFIG, SSHD_CONFIG, files, ssh_config
from vtorque_runtime import ssh
from vtorque_runtime.keys import FOREVER_S, JobKeys
from vtorque_spec.plan import Group, JobVm, LinuxGuest, Login

SSHD = Path("/usr/sbin/sshd")
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
NAME, OTHER, ADDRESS = "vn1-0", "vn2-0", "10.177.0.2"
JOB = JobKeys((OLD,), "head", "12", "1700000000", 1000, "sha256:0")


def me() -> Login:
    entry = pwd.getpwuid(os.geteuid())
    return Login(entry.pw_name, entry.pw_uid, (Group("mine", entry.pw_gid),), entry.pw_dir)


def guest(keys: JobKeys, valid_before_s: int = FOREVER_S, names: Sequence[str] = (NAME, ADDRESS)) -> LinuxGuest:
    """One of the job's, named NAME, whose user is the caller."""
    host_key = keys.host_key("n1", 0, names, valid_before_s)
    return replace(GUEST, hostname=NAME, host_key=host_key, login=me(), keys=keys.texts())


def written(directory: Path, made: LinuxGuest) -> Path:
    """The guest's files below `directory`, each naming the others there."""
    key = ("/etc/ssh/ssh_host_ed25519_key", "0600", made.host_key.private)
    client = (SSH_CONFIG, "0644", ssh_config((JobVm("n1", 0, NAME, ADDRESS), VMS[1])))
    for path, mode, content in (
        key,
        client,
        *((file["path"], file["permissions"], file["content"]) for file in files(made)),
    ):
        target = directory / str(path).removeprefix("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(str(content).replace("/etc/ssh/", f"{directory}/etc/ssh/"))
        target.chmod(int(str(mode), 8))
    return directory


def served(directory: Path, made: LinuxGuest) -> str:
    """The command of an sshd that serves one connection as the guest would."""
    written(directory, made)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = directory / "sshd_config"
    before, ban, after = (directory / SSHD_CONFIG.removeprefix("/")).read_text().partition("PermitRootLogin no\n")
    assert ban, "root, who may be who runs the tests, comes into no guest"
    host_key = f"{directory}/etc/ssh/ssh_host_ed25519_key"
    config.write_text(f"{before}{after}HostKey {host_key}\nPermitRootLogin yes\nStrictModes no\nUsePAM no\n")
    return f"{SSHD} -i -f {config}"


def answer(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    return done.returncode, done.stdout + done.stderr


def owner(directory: Path, keys: JobKeys) -> Path:
    """The owner's directory on a node, as the prologue fills it."""
    directory.mkdir()
    texts = keys.texts()
    (directory / "id_ed25519").write_text(texts.login_key)
    (directory / "id_ed25519").chmod(0o600)
    (directory / "known_hosts").write_text("".join(f"{line}\n" for line in texts.authorities))
    return directory


def from_a_node(server: str, directory: Path, alias: str = NAME) -> tuple[int, str]:
    """What the node's own client says, run as the owner of `directory`."""
    access = ssh.Access(me(), directory, "s0", alias, ADDRESS, 22)
    return answer(ssh.argv(access, "echo came in", "-o", f"ProxyCommand={server}"))


def from_a_guest(server: str, directory: Path, name: str, *options: str) -> tuple[int, str]:
    """What `ssh NAME` says in a guest whose files stand below `directory`."""
    config = directory / SSH_CONFIG.removeprefix("/")
    quiet = ("-o", "BatchMode=yes", "-o", f"ProxyCommand={server}")
    return answer(["ssh", "-F", str(config), *quiet, *options, name, "echo came in"])


STATES = {"old": (OLD,), "old+new": (OLD, NEW), "new+old": (NEW, OLD), "new": (NEW,)}
APART = {("old", "new+old"), ("old", "new"), ("old+new", "new")}
"""Those that are two steps of a key's replacement or more from each other."""


@pytest.mark.parametrize("there", STATES)
@pytest.mark.parametrize("here", STATES)
def test_nodes_one_step_apart_understand_each_other(here: str, there: str, tmp_path: Path) -> None:
    server = served(tmp_path / "guest", guest(replace(JOB, cluster_keys=STATES[there])))
    code, said = from_a_node(server, owner(tmp_path / "owner", replace(JOB, cluster_keys=STATES[here])))
    if (here, there) in APART or (there, here) in APART:
        assert code == ssh.FAILED, said
        assert "Host key verification failed" in said or "Permission denied" in said
    else:
        assert (code, said) == (0, "came in\n")


@pytest.mark.parametrize("change", [{"start": "2"}, {"job_id": "13"}, {"uid": 1}])
def test_another_jobs_guest_is_not_believed(change: dict[str, str | int], tmp_path: Path) -> None:
    server = served(tmp_path / "guest", guest(replace(JOB, **change)))  # type: ignore[arg-type] # fields of JobKeys
    code, said = from_a_node(server, owner(tmp_path / "owner", JOB))
    assert code == ssh.FAILED
    assert "Host key verification failed" in said


def test_another_jobs_owner_does_not_come_in(tmp_path: Path) -> None:
    server, stranger = served(tmp_path / "guest", guest(JOB)), owner(tmp_path / "owner", JOB)
    (stranger / "id_ed25519").write_text(replace(JOB, job_id="13").texts().login_key)
    code, said = from_a_node(server, stranger)
    assert code == ssh.FAILED
    assert "Permission denied (publickey)" in said


def test_a_guest_cannot_pass_for_another_of_its_job(tmp_path: Path) -> None:
    server = served(tmp_path / "guest", guest(JOB))
    code, said = from_a_node(server, owner(tmp_path / "owner", JOB), alias=OTHER)
    assert code == ssh.FAILED
    assert "Host key verification failed" in said


def test_a_certificate_ends(tmp_path: Path) -> None:
    server = served(tmp_path / "guest", guest(JOB, valid_before_s=1_700_000_000))
    code, said = from_a_node(server, owner(tmp_path / "owner", JOB))
    assert code == ssh.FAILED
    assert "Host key verification failed" in said


@pytest.mark.parametrize("name", [NAME, ADDRESS])
def test_a_guest_reaches_another_without_a_question(name: str, tmp_path: Path) -> None:
    server, here = served(tmp_path / "guest", guest(JOB)), written(tmp_path / "here", guest(JOB))
    assert from_a_guest(server, here, name) == (0, "came in\n")


def test_a_guest_does_not_believe_a_false_one(tmp_path: Path) -> None:
    here = written(tmp_path / "here", guest(JOB))
    server = served(tmp_path / "guest", guest(replace(JOB, job_id="13")))
    code, said = from_a_guest(server, here, NAME)
    assert code == ssh.FAILED
    assert "Host key verification failed" in said
    mine = served(tmp_path / "mine", guest(JOB))
    assert from_a_guest(mine, here, OTHER)[0] == ssh.FAILED


def test_other_hosts_are_the_users_own_matter(tmp_path: Path) -> None:
    here = written(tmp_path / "here", guest(JOB))
    settings = {}
    for name in (NAME, "login.cluster.org"):
        config = here / SSH_CONFIG.removeprefix("/")
        code, said = answer(["ssh", "-G", "-F", str(config), name])
        assert code == 0
        settings[name] = said
    for key in (str(here), "stricthostkeychecking true", "identitiesonly yes", "/dev/null"):
        assert key in settings[NAME]
        assert key not in settings["login.cluster.org"]


def test_sshd_has_nothing_against_the_settings(tmp_path: Path) -> None:
    served(tmp_path / "guest", guest(JOB))
    code, said = answer([str(SSHD), "-t", "-f", str(tmp_path / "guest" / "sshd_config")])
    assert (code, said) == (0, "")
