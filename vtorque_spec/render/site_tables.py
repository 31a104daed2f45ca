"""What a site offers, as tables for people and as data for programs."""

from dataclasses import dataclass
from typing import Any

from vtorque_spec.render import printable
from vtorque_spec.site import Site
from vtorque_spec.site.catalogue import called
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.site.model import HostReserve, NodeClass, SiteIocm
from vtorque_spec.units import print_size


@dataclass(frozen=True, slots=True)
class Table:
    """Every row has one text per heading."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(site: Site) -> list[Table]:
    """Return what a site offers: what was not said stands there as what it means."""
    return [
        Table(
            "Node classes",
            ("name", "CPUs", "memory", "sockets x cores x threads", "NUMA cells", "host keeps", "slot", "vCPU",
             "property", "nodes"),
            tuple((name, *_node_class(said)) for name, said in site.node_classes.items()),
        ),
        Table(
            "Queues",
            ("name", "node classes", "default"),
            tuple(
                (name, ", ".join(site.reachable(name)), "yes" if said.default else "-")
                for name, said in site.queues.items()
            ),
        ),
        Table("I/O cores", ("mode", "adapters"), (_iocm(site.iocm),)),
        Table(
            "Images",
            ("name", "sha256", "state", "least memory", "disk", "tags", "description"),
            tuple(
                (called(image), (image.sha256 or "unbuilt")[:16], _state(image), print_size(image.min_memory),
                 print_size(image.min_disk), ", ".join(image.tags or ()) or "-", printable(image.description))
                for name in sorted(site.images) for image in site.revisions(name)
            ),
        ),
        Table(
            "Mounts",
            ("name", "source", "target", "mode"),
            tuple((name, mount.source, mount.target, mount.mode) for name, mount in site.mounts.items()),
        ),
        Table("Networks", ("name", "kind"), tuple((name, network.kind) for name, network in site.networks.items())),
    ]  # fmt: skip


def _state(image: CatalogueImage) -> str:
    return f"until {image.deprecated_until}" if image.deprecated_until else image.state or "current"


def _node_class(said: NodeClass) -> tuple[str, ...]:
    built = said.topology
    return (
        str(said.cpus),
        print_size(said.memory),
        f"{built.sockets} x {built.cores} x {built.threads}" if built else "-",
        str(len(said.cells)) if said.cells else "-",
        _reserve(said.host_reserve),
        said.slot or "thread",
        said.vcpu or "core",
        said.property or "-",
        said.nodes or "-",
    )


def _reserve(said: HostReserve | None) -> str:
    if said is None:
        return "-"
    cores = f"{said.cores} core{'' if said.cores == 1 else 's'}"
    return f"{cores}, {print_size(said.memory)}" if said.memory else cores


def _iocm(said: SiteIocm | None) -> tuple[str, str]:
    if said is None:
        return "libvirt", "any nic or hca"
    return said.mode, "any nic or hca" if said.nics is None else ", ".join(said.nics)


def plain(found: list[Table]) -> str:
    """Return tables as text, columns aligned, without lines; a table without rows says `none`."""
    return "\n".join(f"{table.title}\n{_rows(table) if table.rows else '  none'}\n" for table in found)


def _rows(table: Table) -> str:
    rows = [table.headings, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"  {line}".rstrip() for line in lines)


def as_data(site: Site) -> dict[str, Any]:
    """Return a site as plain data: sizes in bytes; what was not said is left out."""
    parts = {
        "node_classes": site.node_classes, "queues": site.queues, "images": site.images, "mounts": site.mounts,
        "networks": site.networks,
    }  # fmt: skip
    return {
        "name": site.name,
        "batch": site.batch,
        "hypervisor": site.hypervisor,
        "min_uid": site.min_uid,
        **{
            part: {name: said.model_dump(mode="json", exclude_none=True) for name, said in members.items()}
            for part, members in parts.items()
        },
        "other_revisions": {
            name: [one.model_dump(mode="json", exclude_none=True) for one in entries]
            for name, entries in sorted(site.other_revisions.items())
        },
        **({"iocm": site.iocm.model_dump(mode="json", exclude_none=True)} if site.iocm else {}),
    }
