"""What a site offers to jobs by name, as root on a node needs it."""

from vtorque_spec.fault import Fault
from vtorque_spec.plan import AddressTable, OfferedMount, OfferedNetwork, OsvImage
from vtorque_spec.site import Site
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.site.network import SiteAddresses


def offered_mounts(site: Site) -> tuple[OfferedMount, ...]:
    """Return the mounts of the site, by name."""
    return tuple(
        OfferedMount(
            name,
            said.type or "virtiofs",
            said.source,
            said.target,
            said.mode == "rw",
            said.options or (),
            bool(said.allow_suid),
        )
        for name, said in sorted(site.mounts.items())
    )


def osv_image(image: CatalogueImage) -> OsvImage | None:
    """Return what an image of OSv is like, None for another."""
    said = image.osv
    return None if said is None else OsvImage(said.boot, said.options or "mainline", said.rootfs, bool(said.cloud_init))


def offered_networks(site: Site) -> tuple[OfferedNetwork, ...]:
    """Return the networks of the site, by name. Raises Fault VT0941 for a table whose nodes cannot be read."""
    return tuple(
        OfferedNetwork(
            name=name,
            kind=said.kind,
            filtered=not said.unfiltered,
            bridge=said.bridge,
            subnet=said.subnet,
            table=_table(name, said.addresses) if said.addresses else None,
            gateway=said.gateway,
            dns=said.dns or (),
            search=said.search or (),
            ntp=said.ntp or (),
            osv=bool(said.osv),
        )
        for name, said in sorted(site.networks.items())
    )


def _table(network: str, said: SiteAddresses) -> AddressTable:
    from vtorque_spec.site.nodes import read_nodes  # ClusterShell is loaded where node sets are

    nodes = read_nodes(said.nodes)
    if isinstance(nodes, str):
        message = f"the nodes of the network `{network}` cannot be read: {nodes}"
        raise Fault("VT0941", message, help="see what is wrong with the table: vtorque site check")
    return AddressTable(said.first, said.slots, tuple(nodes))
