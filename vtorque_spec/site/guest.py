"""What the site does in every guest: its programs' texts, read from its own directory."""

import os
import stat
from pathlib import Path

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Document
from vtorque_spec.plan import GuestSetup
from vtorque_spec.site.model import SiteFile

HOOK_LIMIT_BYTES = 64 * 1024


def read_setup(facts: SiteFile, document: Document, root: Path, report: Report) -> GuestSetup:
    """Read the hooks of the site in the directory `root`; a finding for each that a guest could not run."""
    said = facts.guest
    if said is None:
        return GuestSetup("none", None, None)
    updates = said.updates or "none"
    if updates == "security" and all(network.kind == "isolated" for network in facts.networks.values()):
        message = "guests install security updates, and no network of the site has a way out"
        hint = "write `updates: none` and keep the images up to date, or offer a network of another kind"
        report.add(Code.NO_UPDATES, message, document.span(("guest", "updates")), help=hint)
    texts: dict[str, str | None] = {}
    for name in ("boot", "shutdown"):
        path = getattr(said.hooks, name, None)
        texts[name] = None if path is None else _read_hook(name, root / path, document, report)
    return GuestSetup(updates, texts["boot"], texts["shutdown"])


def _read_hook(name: str, path: Path, document: Document, report: Report) -> str | None:
    text, why = _text(path)
    if why is not None:
        hint = "name a file of the site's directory: a program in text, whose first line is #! and its interpreter"
        report.add(Code.GUEST_HOOK, f"the hook {path} {why}", document.span(("guest", "hooks", name)), help=hint)
    return text


def _text(path: Path) -> tuple[str | None, str | None]:
    """Return the text of a hook, or why it is none."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None, "is not a plain file"
            content = file.read(HOOK_LIMIT_BYTES + 1)
    except OSError as error:
        return None, f"cannot be read: {(error.strerror or '').lower()}"
    if len(content) > HOOK_LIMIT_BYTES:
        return None, f"has more than {HOOK_LIMIT_BYTES} bytes"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None, "is not UTF-8"
    if not text.startswith("#!") or "\0" in text:
        return None, "does not begin with #!" if "\0" not in text else "has a NUL in it"
    return text, None
