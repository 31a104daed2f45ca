"""An offer as one page of HTML to publish: nothing is loaded from elsewhere, and it works without JavaScript.

Whatever the site's files say is text: jinja2 escapes it, and the page's own policy lets only its style and script run.
"""

import base64
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from vtorque_spec.policy.told.offer import Offer, refusals
from vtorque_spec.render.offer_text import audience, not_yet, short, shown_fields
from vtorque_spec.units import print_size

_TEMPLATES = Path(__file__).with_name("templates")


def page(offer: Offer, example: str | None) -> str:
    """Return the page. `example` is a job that passes at the site."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, autoescape=True,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"code": code, "size": print_size, "short": short, "link": link, "refusals": refusals}
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("offer.css", "offer.js"))
    return environment.get_template("offer.html.j2").render(
        offer=offer, fields=shown_fields(offer), not_yet=not_yet(offer), audience=audience(offer), example=example,
        style=Markup(style), script=Markup(script),  # noqa: S704 - our own files
        style_hash=_hash(style), script_hash=_hash(script),
    )  # fmt: skip


def _hash(text: str) -> str:
    """The digest by which a content security policy lets an inline element run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def code(text: str) -> Markup:
    """Return text with what stands in backticks as code; lines stay lines."""
    parts = re.split(r"`([^`]*)`", text)
    marked = [Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)]
    return Markup("").join(marked)


def link(url: str) -> Markup:
    """Return a link where the address is one of the web, else the text alone."""
    if re.match(r"https?://", url):
        return Markup('<a href="{0}" rel="noreferrer">{0}</a>').format(url)
    return escape(url)
