"""A spec that broke into root's confined child: whatever that does or answers is a verdict, and nothing is made."""

import json
import re
import sys
from functools import partial

import pytest

from tests.security.world import World, steps_of
from vtorque_runtime import confined, planner, supervise
from vtorque_runtime.confine import Limits
from vtorque_runtime.status import READY
from vtorque_spec.canonical import canonical_json

PROGRAM = """\
#!{python} -I
# Started as `-I -m vtorque_spec.node SITE NODE UID GID`, in place of Python. The compilers are Python's as ever.
import json, os, signal, socket, sys, time
if sys.argv[3] != "vtorque_spec.node":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
from dataclasses import replace
from vtorque_spec.fault import Fault
from vtorque_spec.node import __main__ as child
from vtorque_spec.plan import DataDisk, Disk, Filesystem, Group, ImageFiles
from vtorque_spec.plan.answer import Needs

honest = child.plan

def told(what):
    raise Fault("VT0101", str(what))

def attempt(act):
    try:
        act()
    except Fault:
        raise
    except Exception as error:
        told(type(error).__name__)
    told("it could")

def write(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the limit on files ends the process
    with open(path, "w") as file:
        file.write("x")

def machine(plan, **changes):
    guests = tuple(replace(one, machine=replace(one.machine, **changes)) for one in plan.guests)
    return replace(plan, guests=guests)

def card(plan, **changes):
    return machine(plan, nic=replace(plan.guests[0].machine.nic, **changes))

def pins(plan, **changes):
    return machine(plan, pins=replace(plan.guests[0].machine.pins, **changes))

def shares(plan, number, **changes):
    found = list(plan.guests[0].machine.filesystems)
    found[number] = replace(found[number], **changes)
    return machine(plan, filesystems=tuple(found))

def path_of(plan, number):
    return plan.guests[0].machine.filesystems[number].path

def disk(plan, number, **changes):
    found = list(plan.guests[0].machine.disks)
    found[number] = replace(found[number], **changes)
    return machine(plan, disks=tuple(found))

def login(plan, **changes):
    changed = replace(plan.login, **changes)
    return replace(plan, login=changed, guests=tuple(replace(one, login=changed) for one in plan.guests))

def guests(plan, **changes):
    return replace(plan, guests=tuple(replace(one, **changes) for one in plan.guests))

def setup(plan, **changes):
    return guests(plan, setup=replace(plan.guests[0].setup, **changes))

def lie(plan):
    return {lie}

def broken(found):
    {broken}
    return found

def plan(*arguments):
    found = honest(*arguments)
    return broken(found if isinstance(found, Needs) or found is None else lie(found))

child.plan = plan
{first}
sys.exit(child.main(sys.argv[4:]))
"""


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Planner gives its child less time and memory here than it does elsewhere."""
    limits = Limits(time_s=3, memory_bytes=512 * 1024**2, result_bytes=1024**2)
    monkeypatch.setattr(supervise, "Planner", partial(planner.Planner, limits=limits))
    return world


def infect(
    world: World, monkeypatch: pytest.MonkeyPatch, lie: str = "plan", broken: str = "pass", first: str = ""
) -> None:
    """From now on, the confined child is a program that answers so."""
    program = world.node.directory / "hostile"
    program.write_text(PROGRAM.format(python=sys.executable, lie=lie, broken=broken, first=first))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def verdict_of(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Run a job to its verdict: code and words; nothing was made for it, and its registration alone is there."""
    steps = steps_of(monkeypatch)
    now = world.run(world.user)
    assert now.verdict is not None, now
    assert steps == []
    assert world.node.left() == [str(world.spool().path)]
    assert not (world.node.directory / "base/shares").exists()
    (finding,) = now.verdict.findings
    return finding.code, finding.message


LIES = {
    "the uid of another": "login(plan, uid={other.uid})",
    "root's uid": "login(plan, uid=0)",
    "another's name": "login(plan, user='{other.name}')",
    "another's home": "login(plan, home='{other.home}')",
    "a group more": "login(plan, groups=(*plan.login.groups, Group('shadow', 42)))",
    "another's home as a source": "shares(plan, 0, source='{other.home}')",
    "root's home as a source": "shares(plan, 0, source='/root')",
    "a source with dots": "shares(plan, 0, source=plan.login.home + '/../{other.name}')",
    "a source above": "shares(plan, 0, source='/home')",
    "another path for a share": "shares(plan, 0, path='{other.home}')",
    "another job's share": "shares(plan, 0, path=path_of(plan, 0).replace('12.node', '13.node'))",
    "a read-only mount, written": "shares(plan, 1, read_only=False)",
    "a mount inside another": "shares(plan, 1, target=plan.login.home + '/x')",
    "a share that nobody offers": "machine(plan, filesystems=(Filesystem('nfs', 'nas:/x', '', '', '/x', True, ()),))",
    "an image of the user's": "replace(plan, image=replace(plan.image, disk=plan.login.home + '/root.qcow2'))",
    "an image of no store": "replace(plan, image=ImageFiles('x', 'x', '/x', 'raw', '/x', '/x'))",
    "another image of the node's": "replace(plan, image=replace(plan.image, name='other'))",
    "another command line of the kernel": "machine(plan, cmdline='console=ttyS0 init=/bin/sh')",
    "a program that the guest's root runs at boot": "setup(plan, boot='#!/bin/sh\\nid')",
    "a program that the guest's root runs at the end": "setup(plan, shutdown='#!/bin/sh\\nid')",
    "an option in place of a package": "setup(plan, packages=('-oDPkg::Pre-Invoke::=id',))",
    "packages from elsewhere": "setup(plan, apt_sources='Types: deb')",
    "updates that the site does not install": "setup(plan, updates='security')",
    "a mount over the guest's own": "shares(plan, 1, target='/etc/ssh')",
    "a mount at a place of two lines": "shares(plan, 1, target='/data\\n/etc')",
    "another base of the root disk": "disk(plan, 0, backing='/etc/shadow', backing_format='raw')",
    "a root disk of the host's": "disk(plan, 0, file='/dev/sda', format='raw', backing=None, backing_format=None)",
    "a root disk of another job's": "disk(plan, 0, file=plan.spool.replace('12.node', '13.node') + '/vm0/root.qcow2')",
    "a disk over the guest's own": "guests(machine(plan, disks=(*plan.guests[0].machine.disks, Disk('vdc', "
    "plan.spool + '/vm0/vdc.raw', 'raw', False, None, None, None, None))), disks=(DataDisk('x', 'vdc', 1, '/usr'),))",
    "another name of the domain": "machine(plan, name='vt-13.node-0')",
    "locked memory": "machine(plan, memory=replace(plan.guests[0].machine.memory, locked=True))",
    "another manager of the I/O cores": "replace(plan, io=replace(plan.io, mode='skvm'))",
    "a disk more": "machine(plan, disks=(*plan.guests[0].machine.disks, plan.guests[0].machine.disks[0]))",
    "a kernel of the user's": "machine(plan, kernel=plan.login.home + '/vmlinuz')",
    "a console in another's home": "machine(plan, console_log='{other.home}/console')",
    "another spool": "replace(plan, spool='/var/lib/vtorque/jobs/13.node')",
    "a spool with dots": "replace(plan, spool=plan.spool + '/../13.node')",
    "another job": "replace(plan, job_id='13.node')",
    "the host's CPUs": "pins(plan, vcpus=((0,),), cpuset=(0, 16))",
    "no host's CPUs": "replace(plan, host_cpus=())",
    "more vCPUs than slots": "machine(plan, vcpus=64)",
    "more memory than allotted": "machine(plan, memory=replace(plan.guests[0].machine.memory, size_bytes=2**36))",
    "another job's partition": "machine(plan, partition='vt_13_2enode')",
    "no partition": "machine(plan, partition=None)",
    "another address": "card(plan, address='10.213.0.6')",
    "another hardware address": "card(plan, mac='52:54:00:00:00:01')",
    "a bridge of the host's": "card(plan, kind='bridge', source='br0')",
    "another job's network": "card(plan, source='vt-1')",
    "no filter": "card(plan, filter=None)",
    "another nonce": "replace(plan, guests=(replace(plan.guests[0], nonce='0' * 32),))",
    "another host name": "replace(plan, guests=(replace(plan.guests[0], hostname='login1'),))",
    "a name that clears a screen": "replace(plan, job_name='\\x1b[2J')",
    "a note of two lines": "replace(plan, notes=('fine\\nerror[VT0912]: forged',))",
}


@pytest.mark.root
def test_an_honest_child_brings_the_guests_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is fit for the purpose: without a lie all is made."""
    infect(world, monkeypatch)
    steps = steps_of(monkeypatch)
    assert world.run(world.user).phase == READY
    assert len(steps) > 5


@pytest.mark.root
@pytest.mark.parametrize("lie", LIES)
def test_a_plan_that_lies_is_refused(world: World, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    infect(world, monkeypatch, LIES[lie].format(other=world.other))
    assert verdict_of(world, monkeypatch)[0] == "VT0912"


WAYS = {
    "crashes": ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal"),
    "ends": ("os._exit(0)", "ended with exit code 0"),
    "loops": ("while True: pass", "ended by signal|took more than"),
    "sleeps": ("time.sleep(100)", "took more than"),
    "allocates": ("bytearray(2**31)", "ended with exit code 1"),
    "prints garbage": ("os.write(1, bytes(range(256)) + b'\\n')", "cannot be read"),
    "prints deep JSON": ("os.write(1, b'[' * 60000 + b'\\n')", "cannot be read"),
    "prints JSON of another shape": ("print(json.dumps([1]), flush=True)", "cannot be read"),
    "prints without end": ("while True: sys.stdout.write('x' * 4096)", "more than 1048576 bytes"),
    "answers with nothing": ("print('{}', flush=True)", "cannot be read"),
    "asks for a million VMs": ("return Needs(10**6, 'default', None, None, None)", "no job can"),
    "asks for a network from a path": ("return Needs(1, '../../x', None, None, None)", "no job can"),
    "asks for a network of nobody's": ("return Needs(1, 'other', None, None, None)", "the site lacks"),
}


@pytest.mark.root
@pytest.mark.parametrize("way", WAYS)
def test_a_child_that_misbehaves_is_a_verdict(world: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    broken, words = WAYS[way]
    infect(world, monkeypatch, broken=broken)
    code, message = verdict_of(world, monkeypatch)
    assert code == "VT0927"
    assert re.search(words, message)


@pytest.mark.root
def test_the_guests_files_are_made_by_a_child_that_saw_no_byte_of_the_users(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked after the other one has gone, and what it is asked is root's own or rechecked."""
    asked: list[str] = []
    whole = confined.Confined.ask
    monkeypatch.setattr(
        confined.Confined, "ask", lambda self, said: (asked.append(canonical_json(said)), whole(self, said))[1]
    )
    spec = world.machine_part()
    assert world.run(world.user, spec).phase == READY
    *others, last = asked
    assert all(spec in one for one in others)
    assert json.loads(last).keys() == {"guests", "vms"}
    assert spec not in last


NOT_CONFINED = {
    "stays root": "None",
    "can become root again": "(os.setgroups([]), os.setresgid(gid, gid, gid), os.setresuid(uid, uid, 0))",
    "keeps a group": "(os.setgroups([0]), os.setresgid(gid, gid, gid), os.setresuid(uid, uid, uid))",
    "keeps root's group": "(os.setgroups([]), os.setresuid(uid, uid, uid))",
}


@pytest.mark.root
@pytest.mark.parametrize("how", NOT_CONFINED)
def test_a_child_that_is_not_confined_is_asked_nothing(world: World, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    infect(
        world, monkeypatch, broken="raise SystemExit(9)", first=f"child.become = lambda uid, gid: {NOT_CONFINED[how]}"
    )
    code, message = verdict_of(world, monkeypatch)
    assert (code, "is not confined" in message) == ("VT0914", True)


TRIES = {
    "a process of its own": ("os.fork()", "BlockingIOError"),
    "a secret of the host's": ("open('/etc/shadow')", "PermissionError"),
    "the cluster's key": ("open(sys.argv[4] + '/cluster.key')", "PermissionError"),
    "another job's record": ("open(sys.argv[4] + '/../base/jobs/12.node/job.json')", "PermissionError"),
    "a file of its own": ("write(sys.argv[4] + '/../open/x')", "OSError"),
    "its parent's life": ("os.kill(os.getppid(), 9)", "PermissionError"),
    "its parent's memory": ("open(f'/proc/{os.getppid()}/mem')", "PermissionError"),
    "root again": ("os.setuid(0)", "PermissionError"),
    "a group": ("os.setgroups([0])", "PermissionError"),
    "an environment": ("told(sorted(os.environ))", "[]"),
    "an open file of root's": ("told(sorted(os.listdir('/proc/self/fd'))[:-1])", "['0', '1', '2']"),
    "a higher limit": ("__import__('resource').setrlimit(7, (4096, 4096))", "ValueError"),
}


@pytest.mark.root
@pytest.mark.parametrize("what", TRIES)
def test_a_child_gets_nothing(world: World, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    act, expected = TRIES[what]
    (world.node.directory / "open").mkdir()
    (world.node.directory / "open").chmod(0o777)
    infect(world, monkeypatch, broken=f"attempt(lambda: {act})")
    assert verdict_of(world, monkeypatch) == ("VT0101", expected)


@pytest.mark.root
def test_words_of_a_child_are_harmless(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "\\x1b]0;x\\x07\\x1b[2J\\r\\u202eabc"
    infect(world, monkeypatch, broken=f"raise Fault('VT0101', {words!r}.encode().decode('unicode_escape'))")
    assert verdict_of(world, monkeypatch) == ("VT0101", "?]0;x??[2J??abc")
