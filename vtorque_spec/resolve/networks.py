"""The network: its name looked up at the site, and whether the job's VMs reach each other on it."""

from vtorque_spec.diagnostics import Code, Report, Span, near_miss
from vtorque_spec.plan import JobNetwork
from vtorque_spec.resolve.common import said, said_at
from vtorque_spec.resolve.own import own_image
from vtorque_spec.site import Site
from vtorque_spec.site.image import CatalogueImage
from vtorque_spec.site.network import SiteNetwork
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.parse import NormalForm


def resolve_network(
    spec: JobSpec, normal: NormalForm, site: Site, image: CatalogueImage | None, report: Report
) -> JobNetwork | None:
    """Look the job's network up at the site; adds a finding where there is none, or it does not do for the job."""
    name = said(said(spec.network).name)
    network = site.networks.get(name)
    if network is None:
        meant = near_miss(name, site.networks)
        hint = f"write `{meant}`" if meant else f"the site `{site.name}` has {', '.join(sorted(site.networks))}"
        report.add(Code.UNKNOWN_NETWORK, f"there is no network `{name}`", normal.at(("network", "name")), help=hint)
        return None
    nodes, vms = said(said(spec.batch).nodes), said(spec.vms_per_node)
    if (image is None or image.guest == "linux") and own_image(spec) is None:  # of OSv each VM runs the job
        _check_reach(name, network, nodes, vms, site, normal, report)
    if network.addresses and vms > network.addresses.slots:
        message = f"the network `{name}` has addresses for {network.addresses.slots} VMs of a node, the job has {vms}"
        place = said_at(normal, ("vms_per_node",), ("network", "name"))
        hint = f"write `vms_per_node: {network.addresses.slots}` or less"
        report.add(Code.TOO_FEW_ADDRESSES, message, place, help=hint)
    return JobNetwork(name, network.kind)


def _check_reach(
    name: str, network: SiteNetwork, nodes: int, vms: int, site: Site, normal: NormalForm, report: Report
) -> None:
    """The job runs in its first VM alone, so others that this one cannot reach would idle."""
    if nodes > 1 and network.kind != "bridge":
        joined = [other for other, offered in sorted(site.networks.items()) if offered.kind == "bridge"]
        message = f"the job has {nodes} nodes, and on the network `{name}` their VMs do not reach each other"
        place, hint = _place(normal, "batch", "nodes"), _write(joined, "batch: {nodes: 1}")
    elif vms > 1 and network.kind == "user":
        joined = [other for other, offered in sorted(site.networks.items()) if offered.kind != "user"]
        message = f"the job has {vms} VMs on each node, and on the network `{name}` they do not reach each other"
        place, hint = _place(normal, "vms_per_node"), _write(joined, "vms_per_node: 1")
    else:
        return
    report.add(Code.NOT_JOINED, message, place, help=hint)


def _place(normal: NormalForm, *member: str) -> Span | None:
    return said_at(normal, ("network", "name"), member)


def _write(networks: list[str], alone: str) -> str:
    if not networks:
        return f"write `{alone}`: there is no network of this site where they do"
    return f"write {' or '.join(f'`network: {name}`' for name in networks)}, where they do"
