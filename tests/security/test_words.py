"""Names and texts of a job that lead elsewhere, or that a terminal would obey: refused, or shown as what they are."""

import base64
import dataclasses
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.security.world import UsersHook, World, steps_of
from vtorque_runtime import body, identity, log, verdict
from vtorque_runtime.confined import RefusedError
from vtorque_runtime.console import Console
from vtorque_runtime.identity import Reserved
from vtorque_runtime.images import store
from vtorque_runtime.keys import read_cluster_keys
from vtorque_runtime.log import LOG
from vtorque_runtime.planner import Planner, offered
from vtorque_runtime.recheck import recheck
from vtorque_spec.canonical import canonical_json
from vtorque_spec.carrier import MachinePart, decode_machine_part
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodePlan
from vtorque_spec.plan.answer import Question, ToldFinding

EVERYTHING = """\
apiVersion: vtorque/v1
name: test
batch:
  nodes: 1
  walltime: "00:10:00"
  queue: short
  account: project
  features: [fast]
  array: 1-2
  depends: {afterok: ["1"]}
  output: out.txt
  mail: {to: [a@example.org], events: [end]}
image: tiny
vcpus: 1
memory: 512MiB
pinning: compact
hugepages: none
root_disk: {size: 2GiB}
disks: [{name: scratch, size: 64MiB, mount: /scratch}]
mounts: [{name: home, target: /work, mode: rw}, data]
network: default
timeouts: {boot: 2min, grace: 10s}
allow_degraded: [emulation]
run: hostname
"""
"""Every text that a job file can hold and that goes to root."""

LEADS_ELSEWHERE = (
    "..", "../../../etc/shadow", "/etc/shadow", "/", "~root", "$HOME/../root", "$USER", "a/../../b", "./a", "", " ",
    "-rf", "--site", "x" * 5000, "`touch /tmp/x`", "$(touch /tmp/x)", "a;b", "a|b", "a&b", "a'b", 'a"b', "a,b", "a%sb",
    "{0}", "*", "<!DOCTYPE x>", "]]>", "\uff0e\uff0e\uff0f",
)  # fmt: skip
OBEYED = (
    "a\nb", "a\rb", "a\0b", "\x1b[2J\x1b]0;owned\x07", "\x9b2J", "\u202egpj", "\u2028", "\ud800", "home\u200b", "\x7f",
    "\b",
)  # fmt: skip
"""By a terminal, or by whoever reads lines."""

FOR_THE_BATCH_SYSTEM = {("batch", "output"), ("batch", "queue"), ("batch", "account")}
"""The batch system took these when the job was submitted, and opens the output as the job's owner: root reads none."""


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all texts in a job."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    elif isinstance(value, str):
        yield path


def changed(value: Any, path: tuple[Any, ...], text: str) -> Any:
    """The same job with that text in a place."""
    if not path:
        return text
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    made = {key: changed(inner, path[1:], text) if key == path[0] else inner for key, inner in pairs}
    return made if isinstance(value, dict) else list(made.values())


def encode(part: MachinePart) -> str:
    """As a hostile user would: without the compiler's own checks."""
    return "VT1." + base64.b64encode(canonical_json(part).encode("ascii")).decode()


def printable(*texts: str | None) -> bool:
    return all(text is None or all(line.isprintable() for line in text.split("\n")) for text in texts)


def reserved_for(world: World, planner: Planner) -> Reserved:
    """What root gives out for the job 12, before a plan."""
    world.begin(world.user)
    held = world.node.registry.registration("12.node")
    assert held is not None
    keys = read_cluster_keys(world.site / "cluster.key")
    job = UsersHook(world.user.name, "12").job("x")
    draft = identity.batch_draft(job, held, world.node.registry, planner.site, keys, store.SYSTEM_STORE)
    return identity.reserve(draft, 1, offered(planner.site, "default"))


@pytest.mark.root
def test_each_text_of_a_job(world: World) -> None:
    """Each hostile text in each place: refused in words that can be shown, or of no meaning to root."""
    part = decode_machine_part(world.machine_part(EVERYTHING))
    places = list(leaves(part.job))
    assert {path[0] for path in places} >= {"name", "batch", "image", "disks", "mounts", "network"}
    tried = [(path, text) for path in places for text in (*LEADS_ELSEWHERE, *OBEYED)]
    accepted: set[tuple[Any, ...]] = set()
    told: list[ToldFinding] = []
    with Planner("node", world.site) as planner:
        context = reserved_for(world, planner).context
        honest = planner.plan(Question(encode(part), world.user.name, (), None, context))
        recheck(honest, context, planner.site)
        for path, text in tried:
            spec = encode(dataclasses.replace(part, job=changed(part.job, path, text)))
            try:
                plan = planner.plan(Question(spec, world.user.name, (), None, context))
            except RefusedError as refused:
                told += refused.findings
            else:
                accepted.add(path)
                assert same_but_for_the_digest(plan, honest), (path, text)
    assert all(printable(one.message, one.help, one.detail) for one in told)
    assert accepted <= FOR_THE_BATCH_SYSTEM


def same_but_for_the_digest(plan: NodePlan, honest: NodePlan) -> bool:
    same = dataclasses.replace(plan, job_plan_digest=honest.job_plan_digest, notes=honest.notes, reasons=honest.reasons)
    return same == honest and printable(*plan.notes, *plan.reasons)


@pytest.mark.root
@pytest.mark.parametrize("spec", ["", "VT1.", "VT2.e30=", "x" * 10**6, "VT1." + "A" * 8188, "\x1b[2J", "VT1.../../x"])
def test_a_carrier_that_is_none(world: World, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    steps = steps_of(monkeypatch)
    now = world.run(world.user, spec or " ")
    assert now.verdict is not None
    assert [one.code for one in now.verdict.findings] == ["VT0912"]
    assert all(printable(one.message, one.help, one.detail) for one in now.verdict.findings)
    assert steps == []


@pytest.mark.parametrize("text", OBEYED)
def test_what_the_body_shows_is_harmless(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever way it came: in a finding of the child's, in a batch system's answer, in a guest's last words."""
    text = text.replace("\ud800", "\ufffd")
    for error in (
        Fault("VT0931", text, help=text, detail=f"{text}\n{text}"),
        RefusedError([ToldFinding("VT0101", "error", text, text, text)]),
        OSError(5, text, text),
    ):
        body.Told().lines(verdict.lines(verdict.of_error(error, "run")))
    shown = capsys.readouterr().err
    assert shown.count("error[") == 3
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize("text", OBEYED)
def test_a_line_of_the_record_is_one_line_of_ascii(text: str) -> None:
    """Past the logger: what a test logs is shown by pytest, which cannot pass half a character on."""
    error = Fault("VT0912", text)
    record = LOG.makeRecord(LOG.name, logging.ERROR, "", 1, "phase %s", (text,), (Fault, error, None))
    line = log._JsonLines("12").format(record)
    assert json.loads(line)["message"] == f"phase {text}"
    assert line.isascii()
    assert line.isprintable()


def test_a_consoles_tail_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "console").write_bytes("".join(f"{text.replace(chr(0xD800), '')}|\n" for text in OBEYED).encode())
    console = Console(tmp_path / "console", "nonce", tmp_path / "copy")
    console.pump()
    assert all(line.isprintable() for line in console.tail().split("\n"))
    console.close()
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o400


def test_a_forged_finding_is_none() -> None:
    """A message of two lines does not look like two findings."""
    forged = RefusedError([ToldFinding("VT0101", "error", "fine\nerror[VT0912]: forged", None, None)])
    assert verdict.lines(verdict.of_error(forged, "run")) == ["error[VT0101]: fine", "  error[VT0912]: forged"]
