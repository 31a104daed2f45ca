"""What `vtorque explain FIELD` says: the field in the language and at this site."""

import re
from dataclasses import replace
from typing import Any

from vtorque_spec.cli.common import finish
from vtorque_spec.diagnostics import Report
from vtorque_spec.document import Path
from vtorque_spec.policy.told.offer import Default, OfferedField, make_offer, short_form, type_words
from vtorque_spec.policy.told.why import speaks_of
from vtorque_spec.policy.told.wording import named
from vtorque_spec.render import printable
from vtorque_spec.render.offer_json import field_data
from vtorque_spec.site import Site
from vtorque_spec.spec.examples import example, flow, short_example
from vtorque_spec.spec.fields import ANY, Field, all_fields, job_field
from vtorque_spec.units import print_size


def parse_path(text: str) -> Path:
    """Read a field's name: ``mounts[0].name`` -> ("mounts", 0, "name"), ``mounts[].name`` with ``*`` for the index."""
    parts = re.findall(r"[^.\[\]]+", text.replace("[]", f"[{ANY}]"))
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def field_at(text: str) -> Field | None:
    """Return the field that a name means, any item for an index; None where a job has no such field."""
    path = parse_path(text)
    general: Path = ()
    for part in path:
        above = job_field(general) if general else None
        free = above is not None and above.kind in ("list", "names")
        general = (*general, ANY if free else part)
    return job_field(general) if general else None


def field_names() -> list[str]:
    """Return the names of all fields."""
    return [named(field.path) for field in all_fields()]


def explain_field(field: Field, site: Site, asked: tuple[str | None, str | None, str | None]) -> tuple[Any, str]:
    """Return what is said of a field, as data and as text."""
    report = Report()
    offer = make_offer(site, _known(asked), report)
    if offer is None:
        finish(report)
    offered = next((one for one in offer.fields if one.path == _told_with(field)), None)
    above = [limit for one in offer.fields if one.path == field.path[: len(one.path)] for limit in one.limits]
    wider = [limit for limit in (*offer.rules, *above) if limit.path != field.path and speaks_of(limit, field.path)]
    offered = replace(offered, limits=(*offered.limits, *wider)) if offered else None
    classes = _classes(field, site)
    line, short = _example(field, offered), short_example(field)
    members = [member.path for member in (field.each() or field).members().values()]
    rows = [one for one in offer.fields if one.path in members]
    if offered is None:  # something above it is switched off
        return _off(field, line)
    result = {
        **field_data(offered), "name": named(field.path), "type": type_words(field),
        "node_classes": classes, "example": line,
        "short_form": short, "members": [one.name for one in rows],
    }  # fmt: skip
    return result, "\n".join([*_lines(field, offered, classes), *_ending(line, short, field, rows)]) + "\n"


def _known(asked: tuple[str | None, str | None, str | None]) -> dict[str, Any]:
    from vtorque_spec.cli.policy_show import known_context

    return known_context(*asked)


def _told_with(field: Field) -> Path:
    """Items of a list are told with the list."""
    path = field.path
    while path[-1:] == (ANY,):
        path = path[:-1]
    return path


def _off(field: Field, line: str) -> tuple[Any, str]:
    name = named(field.path)
    text = f"{name}: {field.description}\n\n  the site's policy switches off what it is a part of\n"
    return {"name": name, "description": field.description, "switched_off": True, "example": line}, text


def _classes(field: Field, site: Site) -> dict[str, str]:
    if field.path == ("vcpus",):
        return {name: str(said.cpus) for name, said in site.node_classes.items()}
    if field.path == ("memory",):
        return {name: print_size(said.memory) for name, said in site.node_classes.items()}
    return {}


def _example(field: Field, offered: OfferedField | None) -> str:
    """An example with a value that this site takes, where its policy names one."""
    always = [one for one in offered.defaults if one.when is None] if offered else []
    allowed = (
        next((limit.values for limit in offered.limits if limit.values and limit.binds), None) if offered else None
    )
    value: Any = allowed[0] if allowed else None
    if always and field.kind in ("size", "duration", "text"):
        value = always[0].text
    elif always and field.kind == "integer":
        value = int(always[0].text)
    if value is not None and field.model is None and field.path[-1] != ANY:
        return example(field.path, value)
    if field.path == ("image",) and allowed:
        return f"image: {flow({'name': allowed[0]})}"
    return example(field.path)


def _lines(field: Field, offered: OfferedField, classes: dict[str, str]) -> list[str]:
    lines = [f"{named(field.path)}: {field.description or offered.description}", ""]
    lines.append(_row("type", type_words(field).replace("`", "")))
    if offered.required:
        lines.append(_row("required", "yes"))
    if not offered.honoured:
        lines.append(_row("not yet", "this version refuses it"))
    nothing = () if offered.required else (Default("none", ""),)
    for number, said in enumerate(offered.defaults or nothing):
        lines.append(_row("default" if number == 0 else "", _when(said.when) + said.text, said.at))
    for number, limit in enumerate(offered.limits):
        code = f" ({limit.code})" if limit.code else ""
        warning = ", a warning only" if limit.severity.value == "warning" else ""
        lines.append(_row("" if number else "limits", f"{_when(limit.when)}{limit.text}{warning}{code}", limit.at))
        lines += [_row("", f"  {said}") for said in (limit.message, limit.help, limit.url) if said]
    if classes:
        lines.append(_row("nodes", ", ".join(f"{name} {amount}" for name, amount in classes.items())))
    return lines


def _ending(line: str, short: str | None, field: Field, rows: list[OfferedField]) -> list[str]:
    lines = [_row("example", line)]
    if short is not None:
        lines.append(_row("short form", f"{short}   (the {short_form(field)} alone)"))
    if rows:
        width = max(len(one.name) for one in rows)
        lines += ["", "  members"]
        for one in rows:
            not_yet = "" if one.honoured else ", not yet"
            lines.append(f"    {one.name:<{width}}  {one.description}{not_yet} ({one.kind.replace('`', '')})")
    return lines


def _when(when: str | None) -> str:
    return f"{when}: " if when else ""


def _row(word: str, text: str, at: str = "") -> str:
    where = f"\n{' ' * 14}{printable(at)}" if at and len(text) > _LONG else f"  {printable(at)}"
    return f"  {word:<10}  {printable(text):<48}{where}".rstrip()


_LONG = 80
"""The place of a longer text stands below it, not beside it."""
