"""Mode `map`: the job says itself which CPU each vCPU has; I/O takes of what is left."""

from collections import Counter

from vtorque_spec.placement.model import MIB, Core, Guest, Node, Term
from vtorque_spec.placement.room import Room
from vtorque_spec.site.cpus import print_cpus


def guests(room: Room) -> tuple[Guest, ...]:
    """Return the guests with the CPUs that the map names, and the cores that hold them. Their memory is not bound."""
    vcpus, holder = room.demand.vcpus, _holder(room)
    found = []
    for first in range(0, len(room.demand.mapped), vcpus):
        pins = room.demand.mapped[first : first + vcpus]
        places = sorted({holder[cpu][0] for cpu in pins})
        cores = sorted({holder[cpu][1].cpus: holder[cpu][1] for cpu in pins}.items())
        found.append(Guest(pins, tuple(core for _, core in cores), (), tuple(room.cells[place].id for place in places)))
    return tuple(found)


def io_cores(room: Room) -> list[Core]:
    """Return all cores that I/O may take, the nearest to the adapters first."""
    named = set(room.demand.mapped)
    every = (core for place in room.near() for core in room.cores[place])
    return [core for core in every if not core.partial and named.isdisjoint(core.cpus)]


def map_terms(node: Node, room: Room) -> list[Term]:
    """Return what is wrong with the map on this node: terms of kind `map`, `cores` and `memory`."""
    demand, terms = room.demand, []
    if len(demand.mapped) != demand.guests * demand.vcpus:
        terms.append(Term("map", "the map", demand.guests * demand.vcpus, len(demand.mapped)))
    terms += _misnamed(room)
    there, host = len(io_cores(room)), len(node.host)
    if not terms and there < demand.io_cores:
        named = len(demand.mapped) if demand.smt == "cores" else 0
        terms.append(Term("cores", node.name, named + demand.io_cores + host, named + there + host))
    page = demand.page_bytes or MIB
    if sum(room.pages) < demand.guests * room.need_pages:
        terms.append(Term("memory", node.name, demand.guests * room.need_pages * page, sum(room.pages) * page))
    return terms


def _misnamed(room: Room) -> list[Term]:
    """CPUs that are not the job's or are named twice, and cores that more than one has to share."""
    holder, vcpus, found = _holder(room), room.demand.vcpus, []
    users: dict[tuple[int, ...], list[int]] = {}
    for cpu, count in sorted(Counter(room.demand.mapped).items()):
        if cpu not in holder:
            found.append(Term("map", f"CPU {cpu}", count, 0))
        elif count > 1:
            found.append(Term("map", f"CPU {cpu}", count, 1))
    for at, cpu in enumerate(room.demand.mapped):
        if cpu in holder:
            users.setdefault(holder[cpu][1].cpus, []).append(at // vcpus)
    for cpus, own in sorted(users.items()):
        shared = len(set(own)) > 1 or (room.demand.smt == "cores" and len(own) > 1)
        if shared and len(cpus) > 1:
            found.append(Term("map", f"the core of CPUs {print_cpus(cpus)}", len(own), 1))
    return found


def _holder(room: Room) -> dict[int, tuple[int, Core]]:
    """The place of the cell and the core of each CPU that the job may use."""
    return {cpu: (place, core) for place, cores in enumerate(room.cores) for core in cores for cpu in core.cpus}
