"""What the site does in every guest: the texts of its programs and sources of packages, read from its own directory."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Document
from vtorque_spec.plan import NO_SETUP, GuestSetup
from vtorque_spec.site.model import GuestHooks, SiteFile

TEXT_LIMIT_BYTES = 64 * 1024


def read_setup(facts: SiteFile, document: Document, root: Path, report: Report) -> GuestSetup:
    """Read the site's texts in the directory `root`; a finding for each that is of no use in a guest."""
    said = facts.guest
    if said is None:
        return NO_SETUP
    updates = said.updates or "none"
    if updates == "security" and all(network.kind == "isolated" for network in facts.networks.values()):
        message = "guests install security updates, and no network of the site has a way out"
        hint = "write `updates: none` and keep the images up to date, or offer a network of another kind"
        report.add(Code.NO_UPDATES, message, document.span(("guest", "updates")), help=hint)
    hooks = said.hooks or GuestHooks.model_construct()
    found = (
        _read(("apt_sources",), said.apt_sources, _SOURCES, root, document, report),
        _read(("hooks", "boot"), hooks.boot, _HOOK, root, document, report),
        _read(("hooks", "shutdown"), hooks.shutdown, _HOOK, root, document, report),
        _read(("dnf_repos",), said.dnf_repos, _REPOS, root, document, report),
    )
    return GuestSetup(found[0], updates, (), *found[1:])


@dataclass(frozen=True, slots=True)
class _Form:
    """What must stand in a text, what is said of one without it, and how to mend that."""

    needed: re.Pattern[str]
    lacks: str
    wanted: str


_HOOK = _Form(re.compile(r"\A#!"), "does not begin with #!", "a program, whose first line is #! and its interpreter")
_SOURCES = _Form(re.compile(r"^Types:", re.MULTILINE), "has no line `Types: deb`", "a *.sources file of apt's")
_REPOS = _Form(re.compile(r"^\[[\w.:-]+\]", re.MULTILINE), "has no section `[NAME]`", "a *.repo file of dnf's")


def _read(
    member: tuple[str, ...], name: str | None, form: _Form, root: Path, document: Document, report: Report
) -> str | None:
    if name is None:
        return None
    text, why = _text(root / name, form)
    if why is not None:
        hint = f"name a file of the site's directory: {form.wanted}"
        report.add(Code.GUEST_FILE, f"{root / name} {why}", document.span(("guest", *member)), help=hint)
    return text


def _text(path: Path, form: _Form) -> tuple[str | None, str | None]:
    """Return the text of a file, or why it is of no use."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None, "is not a plain file"
            content = file.read(TEXT_LIMIT_BYTES + 1)
    except OSError as error:
        return None, f"cannot be read: {(error.strerror or '').lower()}"
    if len(content) > TEXT_LIMIT_BYTES:
        return None, f"has more than {TEXT_LIMIT_BYTES} bytes"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None, "is not UTF-8"
    if "\0" in text:
        return None, "has a NUL in it"
    return (text, None) if form.needed.search(text) else (None, form.lacks)
