"""`vtorque site check [DIR]`, `vtorque site show [DIR]` and `vtorque site node-class [NAME]`."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vtorque_spec.cli.common import FINDINGS_FORMAT, SITE_DIRECTORY, SITE_OPTION, finish, print_findings
from vtorque_spec.render import formats

if TYPE_CHECKING:
    from vtorque_spec.diagnostics import Report
    from vtorque_spec.site import Files
    from vtorque_spec.site.accounts import Owned
    from vtorque_spec.site.probe.machine import Machine

_DESCRIPTION = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)


@click.group()
def command() -> None:
    """Check and show a site's files. DIR is the site's directory, which --site says as well.

    \b
    vtorque site check ./site
    vtorque site show
    """


@command.command()
@SITE_DIRECTORY
@SITE_OPTION
@click.option("--images", is_flag=True, help="Also check the images' disks on this machine: owner, digest, contents.")
@FINDINGS_FORMAT
def check(directory: Path | None, site: Path | None, images: bool, form: str) -> int:
    """Check site.yaml, images/*.yaml and policy.yaml, each by itself and together. Exits with 1 on an error.

    \b
    vtorque site check ./site
    vtorque site check --format sarif ./site
    sudo vtorque site check --images
    """
    from vtorque_spec.cli.setting import site_directory
    from vtorque_spec.diagnostics import Report
    from vtorque_spec.driver import faults, open_site
    from vtorque_spec.site.accounts import check_accounts
    from vtorque_spec.site.check import inspect

    root, report = site_directory(directory or site), Report()
    open_site(root, report)
    files = inspect(root, report)
    if images and files is not None:
        from vtorque_spec.cli.site_images import check_disks

        with faults(report):
            check_disks(files, report)
            unknown = check_accounts(files, _owned(), report)
            if unknown:
                click.echo(f"vtorque: no record tells of the accounts in {', '.join(unknown)} (VT0515)", err=True)
    _print(report, form, root, files)
    return 1 if report.failed else 0


@command.command()
@SITE_DIRECTORY
@SITE_OPTION
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="A table, or JSON.")
def show(directory: Path | None, site: Path | None, form: str) -> None:
    """Show the node classes, images, mounts and networks of a site.

    \b
    vtorque site show
    vtorque site show --format json ./site
    """
    from vtorque_spec.cli.setting import site_directory, the_site
    from vtorque_spec.render import site_tables

    facts = the_site(site_directory(directory or site))
    if form == "json":
        click.echo(json.dumps(site_tables.as_data(facts), indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _rich(site_tables.tables(facts))
    else:
        click.echo(site_tables.plain(site_tables.tables(facts)), nl=False)


@command.command("node-class")
@click.argument("name", metavar="[NAME]", default="node")
@click.option("--from-host", is_flag=True, help="Describe this machine, from its /sys.")
@click.option("--from-capabilities", metavar="FILE", type=_DESCRIPTION, help="What `virsh capabilities` printed.")
@click.option("--from-lstopo", metavar="FILE", type=_DESCRIPTION, help="What `lstopo --of xml` printed (hwloc 2).")
def node_class(name: str, from_host: bool, from_capabilities: Path | None, from_lstopo: Path | None) -> None:
    """Print the entry of `node_classes` in site.yaml for a machine; NAME is what the class is called.

    Cells, cores, threads, memory, huge pages and devices are the machine's. What jobs can be given is a suggestion.
    FILE may be - for standard input. Write it on the node, outside of containers and cpusets that hide a part of it.

    \b
    vtorque site node-class --from-host thin
    ssh n001 lstopo --of xml | vtorque site node-class --from-lstopo - thin
    ssh n001 virsh -c qemu:///system capabilities | vtorque site node-class --from-capabilities - thin
    """
    from vtorque_spec.diagnostics import Code, Report, Span
    from vtorque_spec.site.probe.entry import class_text
    from vtorque_spec.site.probe.machine import ProbeError

    if sum((from_host, from_capabilities is not None, from_lstopo is not None)) != 1:
        raise click.UsageError("say one of --from-host, --from-capabilities FILE and --from-lstopo FILE")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):  # before it is written into YAML
        raise click.UsageError(f"`{name}` is not a name: letters, digits, dots, _ and -, at most 63")
    try:
        found, source = _machine(from_capabilities, from_lstopo)
        click.echo(class_text(found, name, source), nl=False)
    except ProbeError as error:
        report = Report()
        place = None
        if error.source and error.line:
            place = Span(error.source, error.line, error.column, error.line, error.column)
        report.add(Code.MACHINE, str(error), place, help=error.help)
        finish(report)


def _machine(capabilities: Path | None, lstopo: Path | None) -> "tuple[Machine, str]":
    """Read the machine that was asked for; its name for findings comes with it."""
    if capabilities is not None:
        from vtorque_spec.site.probe import xml_file
        from vtorque_spec.site.probe.capabilities import read_capabilities

        return read_capabilities(xml_file.read(capabilities), str(capabilities)), str(capabilities)
    if lstopo is not None:
        from vtorque_spec.site.probe import xml_file
        from vtorque_spec.site.probe.lstopo import read_lstopo

        return read_lstopo(xml_file.read(lstopo), str(lstopo)), str(lstopo)
    from vtorque_spec.site.probe.sysfs import read_sysfs

    return read_sysfs(), "this machine"


def _owned() -> "list[Owned]":
    """What the images of this machine's store have, as far as it was recorded. Raises Fault VT0503."""
    from vtorque_runtime.images import store
    from vtorque_spec.site.accounts import Owned

    found = ((record, record.provenance or record.accounts) for record in store.records(store.SYSTEM_STORE))
    return [Owned(one.name, one.disk.sha256, said.uids, said.gids) for one, said in found if said is not None]


def _print(report: "Report", form: str, root: Path, files: "Files | None") -> None:
    items = report.sorted()
    if form == "text":
        print_findings(items, err=False)
        errors = sum(item.severity.value == "error" for item in items)
        click.echo(f"site {root}: {_count(errors, 'error')}, {_count(len(items) - errors, 'warning')}", err=True)
        return
    from vtorque_spec.site import shown
    from vtorque_spec.sources import Sources

    documents = [files.document, *(d for _, d in files.images), *files.policy.files.values()] if files else []
    names = [document.name for document in documents] or [shown(root / "site.yaml")]
    click.echo(formats.write(form, items, names, Sources()), nl=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _rich(tables: "list[Any]") -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    for table in tables:
        shown = RichTable(title=table.title, title_justify="left", title_style="bold")
        for heading in table.headings:
            shown.add_column(heading)
        for row in table.rows:
            shown.add_row(*map(Text, row))
        Console().print(shown)
