"""Whether a node can serve jobs: each thing that they need is looked at by the code that will need it.

A check is a function that yields facts and findings. The first table needs nothing; the second has the site's facts
about this node, which root's confined child tells (`planner.Planner`).
"""

import os
from collections.abc import Callable, Iterable
from functools import partial

from vtorque_runtime.confined import RefusedError
from vtorque_runtime.doctor import files, hooks, machine, network, software
from vtorque_runtime.doctor.node import Node, Result, Told, error
from vtorque_runtime.planner import Planner
from vtorque_spec.fault import Fault
from vtorque_spec.plan import NodeSite
from vtorque_spec.plan.answer import ToldFinding

Check = Callable[[Node], Told]
SiteCheck = Callable[[Node, NodeSite], Told]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("cluster key", files.cluster_key),
    ("programs", software.programs),
    ("jobs' command", software.jobs_command),
    ("Python modules", software.modules),
    ("libvirt", software.libvirt),
    ("libvirt's users", software.libvirts_users),
    ("cgroups", machine.cgroups),
    ("spool", files.spool),
    ("jobs", files.jobs),
    ("clock", machine.clock),
    ("vhost-net", machine.vhost_net),
)
SITE_CHECKS: tuple[tuple[str, SiteCheck], ...] = (
    ("KVM", machine.kvm),
    ("CPUs and memory", machine.topology),
    ("devices", machine.devices),
    ("guests' disks", files.diskless),
    ("images", files.images),
    ("mounts", files.mounts),
    ("networks", network.networks),
    ("traffic filter", network.traffic_filter),
    ("hooks", hooks.hooks),
    ("reap", hooks.reap),
)


def examine(node: Node) -> tuple[Result, ...]:
    """Run all checks, in the order of the tables. Who is not root is told so, and nothing else."""
    if os.geteuid() != 0:
        finding = error("VT0948", "only root can look at all that jobs need", "sudo vtorque-runtime doctor")
        return (Result("root", "error", (), (finding,)),)
    site, result = _site(node)
    found = [result, *(_result(name, partial(check, node)) for name, check in CHECKS)]
    for name, site_check in SITE_CHECKS:
        if site is None:
            found.append(Result(name, "skipped", ("the site's files cannot be used",), ()))
        else:
            found.append(_result(name, partial(site_check, node, site)))
    return tuple(found)


def failed(results: Iterable[Result]) -> bool:
    """Tell whether there is an error."""
    return any(one.state == "error" for one in results)


def _site(node: Node) -> tuple[NodeSite | None, Result]:
    """The site's facts, as every job on this node will be told them."""
    known: list[NodeSite] = []

    def look() -> Told:
        with Planner(node.name, node.site) as planner:
            site = planner.site
            yield from planner.warnings
        known.append(site)
        yield f"{site.name}: {node.name} is of the class {site.node_class}, batch system {site.batch}"

    result = _result("site", look)
    return (known[0] if known else None), result


def _result(name: str, look: Callable[[], Told]) -> Result:
    facts: list[str] = []
    findings: list[ToldFinding] = []
    try:
        for told in look():
            facts.append(told) if isinstance(told, str) else findings.append(told)
    except RefusedError as refused:
        findings += refused.findings
    except Fault as fault:
        findings.append(of_fault(fault))
    except OSError as failure:
        findings.append(error("VT0948", f"this cannot be looked at: {failure}", "is the disk whole, and /proc?"))
    severities = {one.severity for one in findings}
    state = "error" if "error" in severities else "warning" if severities else "ok"
    return Result(name, state, tuple(facts), tuple(findings))  # type: ignore[arg-type] # one of these words


def of_fault(fault: Fault) -> ToldFinding:
    """Return a fault as a finding."""
    return ToldFinding(fault.code, "error", fault.message, fault.help, fault.detail)
