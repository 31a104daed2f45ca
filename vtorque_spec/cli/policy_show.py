"""`vtorque policy show`."""

import os
import pwd
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vtorque_spec.cli.common import SITE_OPTION, finish

if TYPE_CHECKING:
    from vtorque_spec.policy.told.offer import Offer
    from vtorque_spec.site import Site


@click.command()
@click.option("--for", "user", metavar="USER", help="Show what this user may ask for. [default: everybody]")
@click.option("--groups", metavar="NAMES", help="Show it for these groups, with commas. [default: the user's]")
@click.option("--queue", metavar="NAME", help="Show it for this queue.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "html"]), default="text",
    help="Tables, JSON, or a page to publish.",
)  # fmt: skip
@SITE_OPTION
def command(user: str | None, groups: str | None, queue: str | None, form: str, site: Path | None) -> None:
    """Show what jobs may ask for at a site: fields, defaults, limits, images, node classes, mounts and networks.

    Without --for, --groups and --queue, what depends on them is told with its condition.

    \b
    vtorque policy show
    vtorque policy show --for alice --queue long
    vtorque policy show --groups students
    vtorque policy show --format html > what-jobs-may-ask-for.html
    """
    from vtorque_spec.cli.setting import the_site
    from vtorque_spec.diagnostics import Report
    from vtorque_spec.policy.told.offer import make_offer

    facts, report = the_site(site), Report()
    offer = make_offer(facts, known_context(user, groups, queue), report)
    if offer is None:
        finish(report)
    _print(offer, example_of(offer, facts), form)


def _print(offer: "Offer", example: str | None, form: str) -> None:
    if form == "json":
        from vtorque_spec.render import offer_json

        click.echo(offer_json.text(offer, example), nl=False)
    elif form == "html":
        from vtorque_spec.render import offer_html

        click.echo(offer_html.page(offer, example), nl=False)
    else:
        from vtorque_spec.render import offer_text

        width = shutil.get_terminal_size((100, 24)).columns
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        offer_text.write(offer, example, sys.stdout, width, colour=colour)


def known_context(user: str | None, groups: str | None, queue: str | None) -> dict[str, Any]:
    """Return what the options say of the context; a user's groups are looked up on this machine."""
    known: dict[str, Any] = {}
    if user is not None:
        known["user"] = user
        if groups is None:
            from vtorque_spec.cli.setting import groups_of

            try:
                known["groups"] = list(groups_of(pwd.getpwnam(user)))
            except KeyError:
                message = f"this machine knows no user `{user}`; say the groups: --groups GROUP,..."
                raise click.UsageError(message) from None
    if groups is not None:
        known["groups"] = [name.strip() for name in groups.split(",") if name.strip()]
    return known if queue is None else {**known, "queue": queue}


def example_of(offer: "Offer", site: "Site") -> str | None:
    """Return a small job that passes every check of a compile at this site; None where none was found."""
    from vtorque_spec.diagnostics import Report
    from vtorque_spec.document import load
    from vtorque_spec.driver import check_document
    from vtorque_spec.policy import Context
    from vtorque_spec.policy.told.offer import example_jobs

    known = offer.context
    context = Context(
        known.get("user", ""), tuple(known.get("groups", ())), known.get("queue"), site.batch, site.name
    )  # fmt: skip
    for text in example_jobs(offer, site):
        document = load("example.vjob.yaml", text.encode(), Report())
        if document is not None and check_document(document, Path(), site, context, Report()) is not None:
            return text
    return None
