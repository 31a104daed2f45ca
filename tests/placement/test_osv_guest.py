"""A node's plan of OSv guests: their machines, their command lines, and what they cannot be given."""

from dataclasses import replace

import pytest

from tests.compilers.plans import BRIDGE
from tests.spec.helpers import MINIMAL, check, checked, codes, with_osv
from vtorque_compilers.domain import compile_domain
from vtorque_spec.carrier import decode_machine_part
from vtorque_spec.driver import machine_part
from vtorque_spec.fault import Fault
from vtorque_spec.placement.node_plan import plan_node
from vtorque_spec.placement.nodes import node_of_class
from vtorque_spec.placement.preview import preview_context
from vtorque_spec.plan import (
    NodeContext,
    NodePlan,
    OsvGuest,
    OsvRun,
    TapNic,
    UserNic,
    Variable,
    exports_address,
    exports_of,
)
from vtorque_spec.resolve.osv_line import command_line, network_options
from vtorque_spec.site import Site
from vtorque_spec.site.network import SiteNetwork
from vtorque_spec.site.offers import offered_networks

JOB = "apiVersion: vtorque/v1\nname: x\nimage: unikernel\nvcpus: 1\nmemory: 64MiB\nroot_disk: {size: 64MiB}\n"
RUN = "env: {A: 'b c'}\nrun: {command: [/t, -v]}\n"


def at(**osv: object) -> Site:
    return with_osv(**osv)


def planned(site: Site, text: str = JOB + RUN) -> tuple[NodePlan, NodeContext]:
    job = checked(text, at=site).job
    node = node_of_class(site, "generic")
    context = preview_context(job, "generic", node)
    plan = plan_node(job, context, node)
    assert isinstance(plan, NodePlan)
    return plan, context


def guests(site: Site, text: str = JOB + RUN) -> list[OsvGuest]:
    found = planned(site, text)[0].guests
    assert all(guest.kind == "osv" for guest in found)
    return [guest for guest in found if guest.kind == "osv"]


def test_by_kernel_the_line_is_the_machines_and_by_disk_the_runtimes() -> None:
    (by_kernel,), (by_disk,) = guests(at(rootfs="rofs")), guests(at(boot="disk", rootfs="rofs"))
    assert by_kernel.command_line == by_disk.command_line
    assert by_kernel.command_line.startswith("--verbose --power-off-on-abort --rootfs=rofs --ip=eth0,10.")
    assert by_kernel.command_line.endswith(r" --env=A=b\ c /t -v")
    spool = by_kernel.machine.console_log.removesuffix("/console.log")
    assert (by_kernel.machine.kernel, by_kernel.machine.cmdline) == (f"{spool}/kernel.elf", by_kernel.command_line)
    assert (by_disk.machine.kernel, by_disk.machine.cmdline) == (None, "")
    assert (by_kernel.machine.initrd, by_disk.machine.initrd) == (None, None)


@pytest.mark.parametrize(("said", "disks"), [(True, ["vda", "vdb"]), (False, ["vda"])])
def test_a_seed_where_the_image_reads_one(said: bool, disks: list[str]) -> None:
    (guest,) = guests(at(cloud_init=said))
    assert [disk.target for disk in guest.machine.disks] == disks
    assert guest.cloud_init == said


def test_disks_and_cards_have_one_queue() -> None:
    more = "vcpus: 4\niocm: {min_cores: 1, max_cores: 1}\n"
    (guest,) = guests(at(cloud_init=True), JOB.replace("vcpus: 1\n", more) + RUN)
    assert ([disk.queues for disk in guest.machine.disks], guest.machine.nic_queues) == ([1, None], 1)


def test_a_kernel_of_2018_is_told_no_option_that_it_lacks() -> None:
    (guest,) = guests(at(boot="disk", options="fork-2018"))
    assert guest.board == "pc"
    options = guest.command_line.split(" /t")[0].split()
    assert {option.split("=")[0] for option in options if option.startswith("--")} <= {
        "--verbose", "--power-off-on-abort", "--ip", "--defaultgw", "--nameserver", "--env",
    }  # fmt: skip
    assert guests(at())[0].board == "q35"


def test_each_vm_has_an_address_of_its_own() -> None:
    one, other = guests(at(), JOB + "vms_per_node: 2\n" + RUN)
    assert one.hostname != other.hostname
    assert one.command_line != other.command_line
    assert one.command_line.split("--ip=")[0] == other.command_line.split("--ip=")[0]


def test_vms_need_not_reach_each_other() -> None:
    """Each runs the job; of Linux guests the first one does."""
    wide = "batch: {nodes: 2}\n"
    assert checked(JOB + wide + RUN, at=at()).job.batch.nodes == 2
    assert codes(check(MINIMAL + wide)[1]) == ["VT0320"]


def test_a_bridge_that_the_site_opens_to_osv() -> None:
    lan = {"kind": "bridge", "bridge": "br0", "subnet": "10.20.0.0/16"}
    lan |= {"addresses": {"first": "10.20.1.0", "slots": 4, "nodes": "generic"}}
    for osv, found in ((None, ["VT0333"]), (True, [])):
        network = SiteNetwork.model_validate({**lan, "osv": osv})
        site = replace(at(), networks={**at().networks, "lan": network})
        assert codes(check(JOB + "network: lan\n" + RUN, at=site)[1]) == found
        (offered,) = (one for one in offered_networks(site) if one.name == "lan")
        assert offered.osv == bool(osv)


def test_shares_are_mounted_by_their_number() -> None:
    text = JOB + "mounts: [{name: home, target: /data, mode: ro}]\n" + RUN
    (guest,) = guests(at(rootfs="rofs"), text)
    assert [share.read_only for share in guest.machine.filesystems] == [True]
    assert "--mount-fs=virtiofs,/dev/virtiofs0,/data" in guest.command_line


WRITES = JOB + "mounts: [{name: home, target: /data}, {name: opt, target: /opt-hpc, mode: ro}]\n" + RUN


def writing(at_site: Site) -> Site:
    """The image can mount NFS, and the site offers a directory beside the home."""
    image = at_site.images["unikernel"].model_copy(update={"capabilities": ("virtiofs", "nfs")})
    home = at_site.mounts["home"]
    opt = home.model_copy(update={"source": "/opt/site", "target": "/opt-hpc", "mode": "ro"})
    mounts = {**at_site.mounts, "opt": opt}
    return replace(at_site, images={**at_site.images, "unikernel": image}, mounts=mounts)


@pytest.mark.parametrize(
    ("options", "tool"), [("mainline", "/tools/mount-fs.so nfs"), ("fork-2018", "/tools/mount-nfs.so")]
)
def test_what_is_written_to_is_mounted_before_the_command(options: str, tool: str) -> None:
    """From the last address of the job's block, where no machine is; quoted, for `&` ends a command."""
    text = WRITES if options == "mainline" else WRITES.replace(", {name: opt, target: /opt-hpc, mode: ro}", "")
    site = writing(at(rootfs="rofs" if options == "mainline" else None, options=options, boot="disk"))
    for guest in guests(site, text.replace("vcpus: 1\n", "vcpus: 1\nvms_per_node: 2\n")):
        assert isinstance(guest.machine.nic, TapNic)
        url = f'"nfs://{exports_address(guest.machine.nic)}/mount0/?version=4&nfsport=2049"'
        assert guest.command_line.endswith(f" {tool} {url} /data ; /t -v")
        assert ("--mount-fs=virtiofs,/dev/virtiofs0,/opt-hpc" in guest.command_line) == (options == "mainline")
        assert [share.tag for share in exports_of(guest)] == ["mount0"]
        text_of = compile_domain(guest).text
        assert ("mount1" in text_of) == (options == "mainline")
        assert "mount0" not in text_of, "libvirt has nothing to do with what the node serves"


def test_only_a_network_of_the_jobs_own_has_a_server() -> None:
    site = writing(at(rootfs="rofs"))
    site = replace(site, networks={**site.networks, "slirp": SiteNetwork.model_validate({"kind": "user"})})
    assert check(WRITES, at=site)[1].sorted() == []
    found = check(WRITES.replace("vcpus", "network: slirp\nvcpus"), at=site)[1]
    assert codes(found) == ["VT0334"]
    context = planned(site, WRITES)[1]
    slots = tuple(replace(slot, nic=UserNic("user", slot.nic.mac, 22022, restricted=True)) for slot in context.slots)
    with pytest.raises(Fault, match=r"VT0334.*/data"):
        plan_node(checked(WRITES, at=site).job, replace(context, slots=slots), node_of_class(site, "generic"))


def test_an_image_without_nfs_writes_nowhere() -> None:
    assert codes(check(WRITES.partition(", {name: opt")[0] + "]\n" + RUN, at=at(rootfs="rofs"))[1]) == ["VT0329"]


def test_an_image_without_the_kernel_that_it_boots() -> None:
    context = planned(at())[1]
    bare = replace(context, images=tuple(replace(image, kernel=None) for image in context.images))
    job = checked(JOB + RUN, at=at()).job
    with pytest.raises(Fault, match="VT0502: the image `unikernel` is on generic without the kernel that it boots"):
        plan_node(job, bare, node_of_class(at(), "generic"))


def of_length(size: int) -> str:
    return JOB + f"run: {{command: [/t, {'x' * size}]}}\n"


def test_a_line_that_compiles_is_not_refused_for_a_nodes_address() -> None:
    """Room for the longest is set aside."""
    site = at(boot="kernel", rootfs="rofs")
    fits = next(size for size in range(3500, 3000, -1) if check(of_length(size), at=site)[0])
    job = checked(of_length(fits), at=site).job
    assert job.osv is not None
    assert job.image.osv is not None
    nic = replace(BRIDGE, address="255.255.255.255", prefix=24, gateway="255.255.255.255", dns=("255.255.255.255",))
    assert 3590 <= len(command_line(job.osv, job.image.osv, network_options(nic))) <= 3600
    assert codes(check(of_length(fits + 1), at=site)[1]) == ["VT0610"]


def test_what_it_runs_travels_to_root_and_not_with_the_user() -> None:
    """Root writes the command line; of a Linux job neither `run` nor `env` goes there."""
    found = checked(JOB + RUN, at=at())
    assert decode_machine_part(machine_part(found)).job["run"] == {"command": ["/t", "-v"]}
    assert found.job.osv == OsvRun((("/t", "-v"),), (Variable("A", "b c", None),), "job")
    assert (found.user.run, found.user.env) == (None, ())


@pytest.mark.parametrize(
    ("run", "commands"),
    [
        ("run: {command: [/t]}", [("/t",)]),
        ("run: {commands: [[/t, a], [/u]]}", [("/t", "a"), ("/u",)]),
        ("run: {config_set: one}", [("runscript", "/run/one")]),
    ],
)
def test_the_ways_to_say_what_runs(run: str, commands: list[tuple[str, ...]]) -> None:
    job = checked(JOB + run + "\n", at=at(boot="disk", config_sets=("one",))).job
    assert job.osv is not None
    assert list(job.osv.commands) == commands
