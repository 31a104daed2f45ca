"""The catalogue: which revision a name means, which a pin does, and what becomes of those that are not current."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.site.helpers import PLAIN
from tests.spec.helpers import CONTEXT, MINIMAL, ROOT, check, codes, document, site
from tests.test_cli import vtorque
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import job_from_machine_part, machine_part
from vtorque_spec.node.facts import node_site
from vtorque_spec.plan import JobPlan
from vtorque_spec.policy.editor.schema import site_vjob_schema
from vtorque_spec.policy.told.offer import example_jobs, make_offer, refusals
from vtorque_spec.site import Site
from vtorque_spec.site.catalogue import by_name, pinned, state_of
from vtorque_spec.site.image import CatalogueImage

CATALOGUE = ROOT / "tests/invalid/sites/catalogue"
IMAGE = site(PLAIN).images["debian-12"]


def entry(revision: str | None = None, **changes: Any) -> CatalogueImage:
    return IMAGE.model_copy(update={"revision": revision, **changes})


def catalogue_of(*entries: CatalogueImage) -> Site:
    found = by_name(entries)
    return replace(
        site(PLAIN),
        images={name: entries[0] for name, entries in found.items()},
        other_revisions={name: entries[1:] for name, entries in found.items()},
    )


def job(image: str, at: Site | None = None) -> tuple[JobPlan | None, list[str]]:
    found, report = check(MINIMAL.replace("image: debian-12", f"image: {image}"), at=at or site(CATALOGUE))
    return found.job if found else None, codes(report)


@pytest.mark.parametrize(
    ("older", "newer"),
    [("2026-9", "2026-10"), ("2026-11", "2026-11.1"), ("2026-11", "2027-01"), ("r9", "r10"), ("1.9-rc1", "1.10-rc1")],
)
def test_numbers_in_revisions_are_numbers(older: str, newer: str) -> None:
    for given_order in ([older, newer], [newer, older]):
        found = by_name(map(entry, given_order))["debian-12"]
        assert [image.revision for image in found] == [newer, older]


@given(st.permutations(["2026-8", "2026-9", "2026-10", "2026-11", "x", "1", "01"]))
def test_the_order_of_files_decides_nothing(revisions: list[str]) -> None:
    assert by_name(map(entry, revisions)) == by_name(map(entry, sorted(revisions)))


def test_a_current_one_comes_before_newer_ones_that_are_not() -> None:
    states = {"1": None, "2": "deprecated", "3": "withdrawn"}
    found = by_name(entry(revision, state=state) for revision, state in states.items())
    assert [image.revision for image in found["debian-12"]] == ["1", "2", "3"]


def test_the_last_day_is_a_day_more() -> None:
    image = entry(state="deprecated", deprecated_until="2027-03-31")
    assert state_of(image, date(2027, 3, 31)) == "deprecated"
    assert state_of(image, date(2027, 4, 1)) == "withdrawn"
    assert state_of(image, None) == "deprecated", "a node has no clock for it"
    assert state_of(entry(state="withdrawn"), None) == "withdrawn"
    assert state_of(entry(), date(2027, 4, 1)) == "current"


def hint(image: str, *entries: CatalogueImage) -> str | None:
    """What the finding about a job's image tells to do, where a catalogue has these entries."""
    _, report = check(MINIMAL.replace("image: debian-12", f"image: {image}"), at=catalogue_of(*entries))
    (finding,) = report.items
    return finding.help


def test_the_successor_is_what_the_entry_says_or_the_newest_of_its_name() -> None:
    gone = {"state": "withdrawn"}
    assert hint("debian-12:1", entry("1", **gone), entry("2"), entry("3")) == "write `image: debian-12:3`"
    rocky = entry("9", name="rocky")
    old = entry("1", **gone, successor="rocky")
    assert hint("debian-12:1", old, entry("2"), rocky) == "write `image: rocky`"
    no_rocky = rocky.model_copy(update=gone)
    assert hint("debian-12:1", old, entry("2"), no_rocky) == "write `image: debian-12:2`", "the word is out of date"
    assert hint("debian-12", entry(**gone)) == "take another image: vtorque policy show"


def test_a_pin_finds_its_entry() -> None:
    entries = (entry("2", sha256="b" * 64), entry("1", sha256="a" * 64))
    assert pinned(entries, None, None) is entries[0]
    assert pinned(entries, "1", None) is entries[1]
    assert pinned(entries, None, "a" * 64) is entries[1]
    assert pinned(entries, "2", "a" * 64) is None
    assert pinned((entry(sha256=None),), None, "a" * 64) is not None, "what is not built yet may have any digest"


def test_a_job_gets_the_revision_that_it_pins() -> None:
    digests = {pin: plan.image.sha256 for pin in ("debian-12", "debian-12:2026-9") if (plan := job(pin)[0]) is not None}
    assert digests == {"debian-12": "1" * 64, "debian-12:2026-9": "2" * 64}
    for pin in (f"debian-12@sha256:{'2' * 64}", f"debian-12:2026-9@sha256:{'2' * 64}"):
        assert job(pin)[0] == job("debian-12:2026-9")[0]


def test_a_deprecated_image_is_a_warning_and_compiles() -> None:
    plan, found = job("debian-11")
    assert plan is not None
    assert found == ["VT0511"]


def test_the_clock_is_the_callers() -> None:
    """Without one, as on the node, the last day is never over; with one it is."""
    without = site(CATALOGUE)
    assert job("debian-12:2026-8", without)[1] == ["VT0511"]
    assert job("debian-12:2026-8", replace(without, today=date(2024, 10, 31)))[1] == ["VT0511"]
    assert job("debian-12:2026-8", replace(without, today=date(2024, 11, 1)))[1] == ["VT0510"]
    assert job("debian-12:2026-10", without)[1] == ["VT0510"]


def test_root_is_told_all_revisions_but_the_withdrawn() -> None:
    said = node_site(site(CATALOGUE), "node1").images
    assert [(image.name, (image.sha256 or "")[0]) for image in said] == [
        ("debian-11", "5"),
        ("debian-12", "1"),
        ("debian-12", "2"),
        ("debian-12", "3"),
    ]


def test_a_withdrawn_newest_revision_falls_back() -> None:
    """What an admin does who finds a hole in the newest one: the name means the one before."""
    entries = [image.model_copy(update={"state": "withdrawn"}) if image.revision == "2026-11" else image
               for image in site(CATALOGUE).revisions("debian-12")]  # fmt: skip
    plan, found = job("debian-12", catalogue_of(*entries))
    assert plan is not None
    assert (plan.image.sha256, found) == ("2" * 64, ["VT0511"])


# --- on the node, later -----------------------------------------------------------------------------------------------


OLD, NEW = entry("2026-10", sha256="a" * 64), entry("2026-11", sha256="b" * 64)


@pytest.mark.parametrize(
    ("image", "later", "digest", "found"),
    [
        ("debian-12", (OLD,), "a", []),
        ("debian-12", (OLD, NEW), "b", ["VT0929"]),
        ("debian-12:2026-10", (OLD, NEW), "a", []),
        (f"debian-12@sha256:{'a' * 64}", (OLD, NEW), "a", []),
        ("debian-12:2026-10", (OLD.model_copy(update={"state": "withdrawn"}), NEW), None, ["VT0510"]),
        ("debian-12:2026-10", (NEW,), None, ["VT0512"]),
        (f"debian-12@sha256:{'a' * 64}", (NEW,), None, ["VT0503"]),
    ],
)
def test_what_a_queued_job_gets(
    image: str, later: tuple[CatalogueImage, ...], digest: str | None, found: list[str]
) -> None:
    compiled, _ = check(MINIMAL.replace("image: debian-12", f"image: {image}"), at=catalogue_of(OLD))
    assert compiled is not None
    report = Report()
    done = job_from_machine_part(machine_part(compiled), catalogue_of(*later), CONTEXT, report)
    assert (done[0].image.sha256 if done else None, codes(report)) == (digest and digest * 64, found)


# --- what people are told ---------------------------------------------------------------------------------------------


def test_the_offer_has_states_and_revisions_and_an_example_that_lasts() -> None:
    at = site(CATALOGUE)
    offer = make_offer(at, {}, Report())
    assert offer is not None
    assert [(one.image.name, one.state, one.revisions, refusals(one)) for one in offer.images] == [
        ("debian-12", "current", ("2026-11", "2026-9", "2026-8"), ""),
        ("debian-11", "deprecated", (), "until 2099-12-31"),
        ("debian-10", "withdrawn", (), "withdrawn"),
    ]
    assert "image: debian-12\n" in next(example_jobs(offer, at))


@pytest.mark.parametrize(
    ("image", "fits"),
    [
        ("debian-12", True),
        ("debian-12:2026-9", True),
        ("debian-12:2026-10", False),
        ("debian-12:2026-12", False),
        ("debian-11:1", False),
        (f"debian-12@sha256:{'1' * 64}", True),
        (f"debian-12:2026-9@sha256:{'2' * 64}", True),
        ("debian-10", False),
        (f"debian-10@sha256:{'6' * 64}", False),
    ],
)
def test_an_editor_completes_what_is_offered(image: str, fits: bool) -> None:
    """What it marks as wrong does not compile; of a digest the compiler alone knows whether it is one."""
    at = site(CATALOGUE)
    said = document(MINIMAL.replace("image: debian-12", f"image: {image}")).data
    assert jsonschema.Draft202012Validator(site_vjob_schema(at)).is_valid(said) is fits
    assert (job(image, at)[0] is not None) is fits


def test_why_a_job_has_its_image(tmp_path: Path) -> None:
    file = tmp_path / "x.vjob.yaml"
    for pin, said in (("", f"2026-11, sha256:{'1' * 64}, current"), (":2026-9", f"2026-9, sha256:{'2' * 64}, depr")):
        file.write_text(MINIMAL.replace("debian-12", f"debian-12{pin}"))
        done = vtorque("explain", file, "--why", "image", "--site", CATALOGUE)
        assert f"in the catalogue it is debian-12:{said}" in done.stdout


def test_a_hint_names_no_withdrawn_image() -> None:
    _, report = check(MINIMAL.replace("image: debian-12", "image: rocky"), at=site(CATALOGUE))
    assert [item.help for item in report.items] == ["the catalogue of the site `plain` has debian-11, debian-12"]
