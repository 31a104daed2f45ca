"""What `vtorque explain JOB --why FIELD` says: the chain from the language to the job's value."""

from itertools import groupby
from pathlib import Path
from typing import Any

import click

from vtorque_spec.canonical import canonical_json
from vtorque_spec.cli.common import finish
from vtorque_spec.cli.explain_field import field_at, field_names, parse_path
from vtorque_spec.cli.setting import asked_context, the_site
from vtorque_spec.diagnostics import Report, near_miss
from vtorque_spec.document import Path as FieldPath
from vtorque_spec.document import read
from vtorque_spec.policy.defaults import fill_defaults
from vtorque_spec.policy.limits import check_limits, conditions
from vtorque_spec.policy.told.why import Chain, Link, chain
from vtorque_spec.policy.told.wording import named
from vtorque_spec.policy.values import shown
from vtorque_spec.render import printable
from vtorque_spec.site import Site
from vtorque_spec.site.catalogue import called, pinned, state_of
from vtorque_spec.spec.machine import Image
from vtorque_spec.spec.parse import normal_form, parse_job


def explain_why(
    file: Path, field: str, directory: Path | None, asked: tuple[str | None, str | None, str | None]
) -> tuple[Any, str]:
    """Return the chain as data and as text. A job that breaks limits is explained too; a faulty file is not."""
    if not file.is_file():
        raise click.UsageError(f"{file} is no file; --why explains a value of a job file")
    path = _path(field)
    report = Report()
    site = the_site(directory)
    document = read(file, report)
    spec = parse_job(document, report) if document else None
    if document is None or spec is None:
        finish(report)
    context = asked_context(site, *asked)
    normal = normal_form(spec, document)
    job = fill_defaults(normal, site.policy, lambda job: conditions(site, context, job), report)
    if job is None:
        finish(report)
    check_limits(job, normal, context, site, report)
    found = chain(path, normal, job, site, conditions(site, context, job))
    entry = _entry(spec.image, site) if path[0] == "image" else None
    return _data(path, found, entry), _text(path, found, entry, broken=report.failed, file=file)


def _path(field: str) -> FieldPath:
    path = parse_path(field)
    if field_at(field) is None:
        meant = near_miss(field, field_names())
        hint = f"; did you mean {meant}?" if meant else ""
        raise click.UsageError(f"a job has no field `{field}`{hint}")
    return path


def _entry(image: Image, site: Site) -> str | None:
    """Return what of the catalogue a job gets."""
    found = pinned(site.revisions(image.name), image.revision, image.sha256)
    if found is None:
        return None
    until = f", until {found.deprecated_until}" if found.deprecated_until else ""
    digest = f"sha256:{found.sha256}" if found.sha256 else "not built yet"
    return f"{called(found)}, {digest}, {state_of(found, site.today)}{until}"


def _data(path: FieldPath, found: Chain, entry: str | None) -> dict[str, Any]:
    return {
        "field": named(path),
        "value": found.value,
        "set_by": found.set_by or None,
        "chain": [
            {"layer": one.layer, "what": one.what, "at": one.at, "applies": one.applies, "when": one.why}
            for one in found.links
        ],
        "may_be": [limit.text for limit in found.may_be],
        **({"catalogue": entry} if entry else {}),
    }


def _text(path: FieldPath, found: Chain, entry: str | None, *, broken: bool, file: Path) -> str:
    name = named(path)
    if found.value is None:
        lines = [f"{name} is not said, and no policy has a default for it"]
    else:
        whole = isinstance(found.value, dict | list)
        lines = [f"{name} = {canonical_json(found.value) if whole else shown(path, found.value)}", f"  {found.set_by}"]
    for layer, links in groupby(found.links, key=lambda link: link.layer):
        lines += [f"  {layer}", *(_line(link) for link in links)]
    if found.may_be:
        lines.append(f"  so it may be: {'; '.join(limit.text + _mild(limit) for limit in found.may_be)}")
    if entry:
        lines.append(f"  in the catalogue it is {entry}")
    if broken:
        lines.append(f"  the job breaks a rule of the site: vtorque lint {file} tells which")
    return "\n".join(printable(line) for line in lines) + "\n"


def _mild(limit: Any) -> str:
    return " (a warning only)" if limit.severity.value == "warning" else ""


def _line(link: Link) -> str:
    code = f" ({link.limit.code})" if link.limit and link.limit.code else ""
    mild = _mild(link.limit) if link.limit else ""
    words = {True: "applies", False: "does not apply", None: "not known whether it applies"}
    why = f"   {words[link.applies]}: {link.why}" if link.why else ""
    return f"    {link.what + code + mild:<36} {link.at}{why}"
