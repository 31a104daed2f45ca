"""`vtorque explain CODE`, `vtorque explain FIELD` and `vtorque explain JOB --why FIELD`."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vtorque_spec import data
from vtorque_spec.cli.common import SITE_OPTION, context_options
from vtorque_spec.diagnostics import Code, near_miss

if TYPE_CHECKING:
    from vtorque_spec.policy.told.limits import Limit


@click.command()
@click.argument("subject", metavar="CODE|FIELD|JOB")
@click.option("--why", metavar="FIELD", help="Tell where the job's value of FIELD comes from, and its limits.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON.")
@SITE_OPTION
@context_options
def command(
    subject: str, why: str | None, form: str, site: Path | None, user: str | None, groups: str | None, queue: str | None
) -> None:
    """Explain a finding's code, the site's own codes too; a field of jobs; or where a value of a job comes from.

    --as, --groups and --queue say who asks, for rules that depend on it.

    \b
    vtorque explain VT0107
    vtorque explain HLRS012 --site ./site
    vtorque explain batch.walltime
    vtorque explain job.vjob.yaml --why vcpus
    """
    if why is not None:
        from vtorque_spec.cli.explain_why import explain_why

        result, text = explain_why(Path(subject), why, site, (user, groups, queue))
    elif subject.upper() in {code.id for code in Code}:
        result, text = _page(subject.upper())
    elif re.search(r"\.(ya?ml|json)$", subject):
        raise _which_value(subject)
    else:
        result, text = _of_the_site(subject, site, (user, groups, queue))
    click.echo(_json(result) if form == "json" else text, nl=False)


def _json(result: Any) -> str:
    """JSON that can be written in UTF-8 whatever files are called."""
    return json.dumps(result, indent=2, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def _which_value(file: str) -> click.UsageError:
    return click.UsageError(f"say which value to explain: vtorque explain {file} --why FIELD, as in --why memory")


def _page(number: str) -> tuple[dict[str, Any], str]:
    code, text = Code.by_id(number), (data.error_pages() / f"{number}.md").read_text(encoding="utf-8")
    return {"code": number, "title": code.title, "severity": code.severity.value, "page": text}, text


def _of_the_site(
    subject: str, directory: Path | None, asked: tuple[str | None, str | None, str | None]
) -> tuple[dict[str, Any], str]:
    """A field, or a code of the site's policy."""
    from vtorque_spec.cli.explain_field import explain_field, field_at, field_names
    from vtorque_spec.cli.setting import the_site
    from vtorque_spec.policy.told.limits import Limit, policy_limits

    site = the_site(directory)
    field = field_at(subject)
    if field is not None:
        return explain_field(field, site, asked)
    of_code: dict[str, list[Limit]] = {}
    for limit in policy_limits(site, {}):
        of_code.setdefault(limit.code or "", []).append(limit)
    found = of_code.get(subject.upper()) if subject else None
    if found:
        return _site_code(subject.upper(), found)
    if Path(subject).is_file():
        raise _which_value(subject)
    known = {*(code.id for code in Code), *filter(None, of_code), *field_names()}
    meant = near_miss(subject, known)
    hint = f"; did you mean {meant}?" if meant else "; `vtorque policy show` lists the fields"
    raise click.UsageError(f"`{subject}` is no code of a finding and no field of a job{hint}")


def _site_code(code: str, found: "list[Limit]") -> tuple[dict[str, Any], str]:
    """What the policy says of one of the site's own codes: every rule that has it."""
    from vtorque_spec.policy.told.wording import named
    from vtorque_spec.render import printable
    from vtorque_spec.render.offer_json import limit_data

    lines = [f"{code}: a code of the site's policy"]
    for limit in found:
        said = {
            "severity": limit.severity.value,
            "applies": limit.when or "always",
            "message": limit.message,
            "help": limit.help,
            "see": limit.url,
            "rule": limit.at,
            "suppress": "a comment in the job file may hide it from lint"
            if limit.may_be_suppressed
            else "not possible",
        }
        lines += ["", printable(f"{named(limit.path) or 'the job'}: {limit.text}")]
        lines += [f"  {word + ':':<10} {printable(text)}" for word, text in said.items() if text]
    result = {"code": code, "rules": [{"field": named(limit.path), **limit_data(limit)} for limit in found]}
    return result, "\n".join(lines) + "\n"
