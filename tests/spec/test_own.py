"""A user's own image: what a site and its policy say to it, what a node makes of it; and root has no part in it."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.policy.helpers import write_site
from tests.spec.helpers import CONTEXT, ROOT, check, checked, codes, site
from tests.spec.test_node import preview
from vtorque_spec.canonical import to_data
from vtorque_spec.carrier import (
    decode_machine_part,
    decode_user_part,
    encode_user_part,
    machine_part_in_script,
    own_in_script,
)
from vtorque_spec.cli import group
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import compile_script, machine_part
from vtorque_spec.fault import Fault
from vtorque_spec.node import needs_of, plan_job, plan_of, read_answer
from vtorque_spec.plan import NO_SETUP, Flavour, OwnImage, UserNic
from vtorque_spec.plan.answer import WantedImage
from vtorque_spec.policy.editor.schema import site_vjob_schema
from vtorque_spec.site import Site

HEAD = "apiVersion: vtorque/v1\nname: x\nrun: hostname\n"
OWN = "image: {name: debian-mine, disk: d.qcow2, kernel: sub/../k, initrd: /abs/i, cmdline: root=/dev/vda}\n"
JOB = HEAD + OWN


def test_paths_are_those_beside_the_job_file(tmp_path: Path) -> None:
    found = checked(JOB, where=tmp_path)
    assert found.job.image.own == OwnImage(f"{tmp_path}/d.qcow2", f"{tmp_path}/k", "/abs/i")
    assert found.job.image.cmdline == "root=/dev/vda"


def test_root_boots_none_whatever_reaches_it() -> None:
    """The same machine part, carried to root by a script that was written by hand."""
    found = checked(JOB)
    context = preview(found.job)
    for slots in ((), context.slots):
        with pytest.raises(Fault, match="VT0556"):
            plan_job(machine_part(found), site(), CONTEXT, replace(context, lane="system", slots=slots))


def test_the_files_are_what_the_node_needs_to_look_at() -> None:
    found = checked(JOB + "root_disk: {size: 3GiB}\n")
    needs = needs_of(read_answer(plan_job(machine_part(found), site(), CONTEXT, replace(preview(found.job), slots=()))))
    assert needs.own == WantedImage("debian-mine", OwnImage(f"{ROOT}/d.qcow2", f"{ROOT}/k", "/abs/i"), 3 * 2**30)


def test_nothing_of_it_is_roots() -> None:
    """QEMU opens the shared directory by its own name, on its own network; the site does nothing in the guest."""
    at = replace(site(), setup=replace(NO_SETUP, boot="#!/bin/sh\n", updates="security"))
    found = checked(JOB + "mounts: [home]\n", at=at)
    plan = plan_of(read_answer(plan_job(machine_part(found), at, CONTEXT, preview(found.job))))
    (guest,) = plan.guests
    (share,) = guest.machine.filesystems
    assert (plan.lane, plan.image.own, guest.machine.partition) == ("session", True, None)
    assert (share.kind, share.path, share.source) == ("9p", "/home/user", "/home/user")
    assert guest.kind == "linux"
    assert guest.setup == NO_SETUP
    assert isinstance(guest.machine.nic, UserNic)
    assert guest.machine.nic.restricted  # the network `default` is an isolated one


def test_an_image_of_the_site_still_mounts_nothing_there() -> None:
    found = checked(HEAD + "image: debian-12\nmounts: [home]\n")
    told = read_answer(plan_job(machine_part(found), site(), CONTEXT, replace(preview(found.job), lane="session")))
    assert [item.code.id for item in told.findings] == ["VT0906"]


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ("{imageIn: ['debian-*']}", False),  # its name is the user's choice
        ("{properties: {disk: false}}", False),
        ("{required: [disk]}", True),
    ],
)
def test_a_policy_narrows_it(tmp_path: Path, words: str, allowed: bool) -> None:
    root = write_site(tmp_path, f"properties: {{image: {words}}}\n")
    at = replace(site(root), own_images=True)
    found, report = check(JOB, at=at)
    assert (found is not None) == allowed, report.items
    told = [(item.id, item.help) for item in report.items]
    assert told == ([] if allowed else [("VT0201", "take an image of the site: vtorque policy show")])


def test_packages_are_the_images_own() -> None:
    at = replace(site(ROOT / "tests/invalid/sites/packages"), own_images=True)
    _, report = check(JOB + "packages: [libmetis5]\n", at=at)
    assert "VT0339" in codes(report)


@pytest.mark.parametrize("flavour", ["torque", "openpbs", "slurm"])
def test_its_script_has_nothing_for_root(flavour: Flavour, tmp_path: Path) -> None:
    """An ordinary job's script to every hook; what it runs as the user has both parts."""
    found = checked(JOB)
    script = compile_script(found, flavour, Report())
    assert script is not None
    assert machine_part_in_script(script.text) is None
    assert not any(word in script.text for word in ("BEOWULF_JOB_MAP", "vtspec", "VTORQUE_SPEC", "#VTORQUE"))
    own = own_in_script(script.text)
    assert own == (flavour, machine_part(found), encode_user_part(found.user))
    assert decode_machine_part(own[1]).job["image"]["name"] == "debian-mine"
    assert decode_user_part(own[2]) == found.user


def test_show_and_verify_know_its_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.vjob.yaml").write_text(JOB)
    local = str(ROOT / "schemas/local")
    run = CliRunner()
    made = run.invoke(group, ["compile", "--site", local, "job.vjob.yaml"])
    Path("job.sh").write_text(made.stdout)
    shown = run.invoke(group, ["show", "job.sh"])
    assert "read by root" not in shown.output
    assert f"disk: {tmp_path}/d.qcow2" in shown.output
    assert (
        run.invoke(group, ["verify", "--site", local, "job.sh", "job.vjob.yaml"], standalone_mode=False).return_value
        == 0
    )
    Path("job.sh").write_text(made.stdout.replace("\nVT1.", "\nVT1.A"))
    assert (
        run.invoke(group, ["verify", "--site", local, "job.sh", "job.vjob.yaml"], standalone_mode=False).return_value
        == 1
    )


def editors_forms(at: Site) -> list[str]:
    forms = site_vjob_schema(at)["properties"]["image"]["anyOf"]
    return [sorted(form["properties"]) for form in forms if "properties" in form]


def test_an_editor_knows_it_where_the_site_has_them() -> None:
    catalogue, own = ["name", "revision", "sha256"], ["cmdline", "disk", "initrd", "kernel", "name"]
    forms = editors_forms(site())
    assert catalogue in forms
    assert any(set(own) <= set(form) for form in forms)
    assert editors_forms(replace(site(), own_images=False)) == [catalogue]


def test_a_catalogues_image_has_no_files_of_its_own() -> None:
    assert to_data(checked(HEAD + "image: debian-12\n").job)["image"]["own"] is None
