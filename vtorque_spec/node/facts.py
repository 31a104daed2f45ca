"""The site's own words about one node, as root needs them."""

from collections.abc import Iterator

from vtorque_spec.node import class_of
from vtorque_spec.plan import VERSION, NodeSite, SaidCell, SaidDevice, SaidImage, SaidNode
from vtorque_spec.site import Site
from vtorque_spec.site.model import NodeClass, NumaCell, cores_of
from vtorque_spec.site.offers import offered_mounts, offered_networks, osv_image
from vtorque_spec.site.topology import core_widths


def node_site(site: Site, node: str) -> NodeSite:
    """Return the facts about the node of that name. Raises Fault VT0926 when the site does not know it."""
    name = class_of(site, node)
    said = site.node_classes[name]
    return NodeSite(
        version=VERSION,
        name=site.name,
        batch=site.batch,
        node_class=name,
        min_uid=site.min_uid,
        slot=said.slot or "thread",
        host_cores=said.host_reserve.cores if said.host_reserve else 0,
        mounts=offered_mounts(site),
        networks=offered_networks(site),
        node_fault=site.node_fault,
        hypervisor=site.hypervisor,
        hook_limit_s=site.hook_limit_s,
        node=_said_node(said),
        images=tuple(_said_images(site)),
        setup=site.setup,
        io_mode=site.iocm.mode if site.iocm else "libvirt",
        io_nics=site.iocm.nics if site.iocm else None,
        lock_memory=bool(said.lock_memory),
        own_images=site.own_images,
    )


def _said_images(site: Site) -> Iterator[SaidImage]:
    """All revisions of all images but the withdrawn ones."""
    for image in (entry for name in sorted(site.images) for entry in site.revisions(name)):
        if image.state != "withdrawn":
            yield SaidImage(image.name, image.sha256, image.cmdline or "", osv_image(image))


def _said_node(said: NodeClass) -> SaidNode:
    cells = tuple(_said_cell(cell, said) for cell in said.cells or ())
    kept = said.host_reserve
    whole = sum(core_widths(said))
    return SaidNode(
        cpus=whole or said.cpus,
        whole=bool(whole),
        memory_bytes=sum(cell.memory_bytes for cell in cells) or said.memory + ((kept and kept.memory) or 0),
        cells=cells,
        devices=tuple(SaidDevice(one.name, one.kind, one.cell) for one in said.devices or ()),
        diskless=bool(said.diskless),
    )


def _said_cell(cell: NumaCell, said: NodeClass) -> SaidCell:
    pages = cell.hugepages or {}
    cores = cores_of(cell, said.topology.threads if said.topology else 1) if cell.siblings or said.topology else ()
    return SaidCell(
        cell.id, tuple(cell.cpus or ()), cores, cell.memory or 0, pages.get("2MiB", 0), pages.get("1GiB", 0)
    )
