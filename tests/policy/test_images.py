"""`imageIn`: names, patterns, tags and pins, at a site with several revisions."""

from pathlib import Path

import pytest

from tests.policy.helpers import lint, write_site
from tests.spec.helpers import MINIMAL, check, codes, site
from vtorque_spec.diagnostics import Report
from vtorque_spec.policy.images import spellings
from vtorque_spec.policy.told.offer import example_jobs, make_offer
from vtorque_spec.site import Site

DIGEST = "1" * 64
OLD = "2" * 64


def with_revisions(directory: Path, words: str) -> Site:
    return site(with_revisions_at(directory, words))


def with_revisions_at(directory: Path, words: str) -> Path:
    """The revision 2026-11 of debian-12 has the tags cfd and small, 2026-10 only small."""
    root = write_site(directory, f"properties: {{image: {words}}}\n")
    newest = (
        (root / "images/debian-12.yaml")
        .read_text()
        .replace("name: debian-12\n", "name: debian-12\nrevision: 2026-11\n")
    )
    (root / "images/debian-12.yaml").write_text(newest)
    older = newest.replace("2026-11", "2026-10").replace(DIGEST, OLD).replace("cfd, ", "")
    (root / "images/debian-12@2026-10.yaml").write_text(older)
    return root


def passes(at: Site, image: str) -> bool:
    found, report = check(MINIMAL.replace("image: debian-12", f"image: {image}"), at=at)
    assert found is not None or codes(report) == ["VT0201"], report.items
    return found is not None


PLAIN, REVISION, EARLIER, SHA = "debian-12", "debian-12:2026-11", "debian-12:2026-10", f"debian-12@sha256:{DIGEST}"
ALL = (PLAIN, REVISION, EARLIER, SHA)


@pytest.mark.parametrize(
    ("words", "fitting"),
    [
        ("{imageIn: [debian-12]}", ALL),
        ('{imageIn: ["debian-*"]}', ALL),
        ('{imageIn: ["*:2026-11"]}', (REVISION,)),
        ('{imageIn: ["debian-12:*"]}', (REVISION, EARLIER)),
        ('{imageIn: ["*@sha256:*"]}', (SHA,)),
        (f'{{imageIn: ["debian-12@sha256:{OLD}"]}}', ()),
        ('{imageIn: ["*:*", "*@sha256:*"]}', (REVISION, EARLIER, SHA)),
        ('{not: {imageIn: ["*:*", "*@sha256:*"]}}', (PLAIN,)),
        ("{required: [sha256]}", (SHA,)),
        ("{properties: {revision: false, sha256: false}}", (PLAIN,)),
        ("{imageIn: [tag=small]}", ALL),
        ("{imageIn: [tag=cfd]}", (PLAIN, REVISION, SHA)),
    ],
)
def test_what_fits(words: str, fitting: tuple[str, ...], tmp_path: Path) -> None:
    at = with_revisions(tmp_path, words)
    assert {image for image in ALL if passes(at, image)} == set(fitting)


def test_a_digest_and_a_revision_together_fit_both_words(tmp_path: Path) -> None:
    at = with_revisions(tmp_path, '{imageIn: ["*:2026-11"]}')
    assert passes(at, f"{{name: debian-12, revision: 2026-11, sha256: '{DIGEST}'}}")


# --- what people are told ---------------------------------------------------------------------------------------------


def refused(at: Site, image: str) -> tuple[str, str | None]:
    _, report = check(MINIMAL.replace("image: debian-12", f"image: {image}"), at=at)
    (finding,) = report.items
    return finding.message, finding.help


def test_the_finding_shows_a_pin_that_is_allowed(tmp_path: Path) -> None:
    at = with_revisions(tmp_path, '{imageIn: ["*:2026-10", "*@sha256:*"]}')
    allowed = "allowed is *:2026-10, *@sha256:*"
    assert refused(at, PLAIN) == (f"`image` is debian-12, {allowed}", f"write `image: {EARLIER}`")
    assert refused(at, REVISION) == (f"`image` is {REVISION}, {allowed}", f"write `image: {EARLIER}`")


def test_a_pin_that_is_forbidden(tmp_path: Path) -> None:
    at = with_revisions(tmp_path, '{not: {imageIn: ["*:*"]}}')
    assert refused(at, REVISION)[0] == f"`image` is {REVISION}, which is not allowed"


def test_the_offer_and_the_editor_know_which_names_can_be_pinned_so(tmp_path: Path) -> None:
    at = with_revisions(tmp_path, '{imageIn: ["debian-12:2026-1?"]}')
    offer = make_offer(at, {}, Report())
    assert offer is not None
    assert [limit.text for field in offer.fields for limit in field.limits if field.name == "image"] == [
        "only debian-12, pinned (debian-12:2026-1?)"
    ]
    assert next(text for text in example_jobs(offer, at) if check(text, at=at)[0]).splitlines()[2] == (
        'image: "debian-12:2026-11"'
    )
    at = with_revisions(tmp_path, '{imageIn: ["debian-12:2025-*"]}')
    offer = make_offer(at, {}, Report())
    assert offer is not None
    assert not any(one.allowed for one in offer.images)


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        ('["*:*"]', "[debian-12]", False),
        ('["*:2026-11"]', '["*:2026-10"]', True),
        ('["*:2026-11"]', '["*@sha256:*"]', False),
        ('["*:2026-11"]', f'["*@sha256:{OLD}"]', True),
    ],
)
def test_lists_that_allow_no_image_together(one: str, other: str, contradict: bool, tmp_path: Path) -> None:
    root = with_revisions_at(tmp_path, "{}")
    policy = f"allOf:\n  - properties: {{image: {{imageIn: {one}}}}}\n  - properties: {{image: {{imageIn: {other}}}}}\n"
    (root / "policy.yaml").write_text(policy)
    assert ("VT0708" in [code for code, _, _ in lint(root)]) is contradict


def test_a_tag_is_told_by_the_names_that_have_it(tmp_path: Path) -> None:
    at = with_revisions(tmp_path, "{imageIn: [tag=cfd, rocky]}")
    assert refused(at, EARLIER) == (f"`image` is {EARLIER}, allowed is debian-12, rocky", f"write `image: {PLAIN}`")


def test_no_withdrawn_revision_is_told(tmp_path: Path) -> None:
    root = with_revisions_at(tmp_path, '{imageIn: ["*:2026-10"]}')
    (root / "images/debian-12@2026-10.yaml").write_text(
        (root / "images/debian-12@2026-10.yaml").read_text() + "state: withdrawn\n"
    )
    assert refused(site(root), PLAIN)[1] is None
    (root / "policy.yaml").write_text("properties: {image: {imageIn: [tag=small]}}\n")
    for file in (root / "images").iterdir():
        file.write_text(file.read_text().replace("state: withdrawn\n", "") + "state: withdrawn\n")
    assert list(spellings("debian-12", site(root))) == []
