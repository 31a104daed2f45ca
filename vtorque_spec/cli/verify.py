"""`vtorque verify SCRIPT JOB`."""

from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import get_args

import click

from vtorque_spec.carrier import CARRIERS, own_in_script
from vtorque_spec.cli.common import JOB_FILE, NODE_OPTION, SITE_OPTION, context_options, finish
from vtorque_spec.cli.setting import asked_context, known, the_site
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import check_file, compile_script
from vtorque_spec.plan import Flavour

_WIDTH = 72


@click.command()
@click.argument("script", type=JOB_FILE)
@click.argument("job", type=JOB_FILE)
@NODE_OPTION
@SITE_OPTION
@context_options
def command(
    script: Path, job: Path, node_class: str | None, site: Path | None,
    user: str | None, groups: str | None, queue: str | None,
) -> int:  # fmt: skip
    """Prove that a batch script is what a job file compiles to, under the policy of this site.

    Compiles the job again and compares every byte; the first line that differs is told.

    \b
    vtorque verify bundle/job.sh job.vjob.yaml
    """
    text = script.read_bytes().decode("utf-8", errors="replace")  # line ends are compared too
    flavour = _flavour(text)
    if flavour is None:
        click.echo(f"{script}: this is no script that `vtorque compile` wrote, or not all of one", err=True)
        return 1
    report, facts = Report(), the_site(site)
    if node_class is not None:
        known("node class", node_class, facts.node_classes, facts)
    context = replace(asked_context(facts, user, groups, queue), batch=flavour)
    checked = check_file(job, facts, context, report, node_class)
    compiled = compile_script(checked, flavour, report) if checked else None
    if compiled is None:
        finish(report)
    for number, (found, made) in enumerate(zip_longest(text.split("\n"), compiled.text.split("\n")), 1):
        if found != made:
            click.echo(f"{script}:{number}: {job} compiles to something else at the site `{facts.name}`:", err=True)
            at = _first_difference(found or "", made or "")
            click.echo(f"  the script has  {_shown(found, at)}\n  compiled it is  {_shown(made, at)}", err=True)
            if (found or "").startswith(CARRIERS):
                click.echo(f"  help: see what the script tells root: vtorque show {script}", err=True)
            return 1
    return 0


def _flavour(text: str) -> Flavour | None:
    found = (flavour for flavour, start in zip(get_args(Flavour), CARRIERS, strict=True) if f"\n{start}" in text)
    own = own_in_script(text)
    return next((name for name in get_args(Flavour) if own and own[0] == name), next(found, None))


def _first_difference(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip_longest(one, other)) if a != b), 0)


def _shown(line: str | None, at: int) -> str:
    """As much of a line as fits, with its part from `at` on in sight."""
    if line is None:
        return "nothing more"
    start = 0 if at < _WIDTH // 2 else at - _WIDTH // 4
    shown, dots = line[start : start + _WIDTH], "..."
    return ascii(f"{dots if start else ''}{shown}{dots if start + _WIDTH < len(line) else ''}")
