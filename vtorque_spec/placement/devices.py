"""Which of the node's devices each guest gets: those nearest to its cells, so that all the ways together are least."""

from collections.abc import Iterator, Sequence
from itertools import product

from vtorque_spec.diagnostics import Code
from vtorque_spec.placement.nodes import HostNode
from vtorque_spec.placement.shortage import Shortage
from vtorque_spec.plan import Device, DeviceRequest, JobPlan

NO_WAY = 255
"""More than any distance: a device of which no cell is known is as far as can be."""


def too_few_devices(job: JobPlan, node: HostNode) -> Iterator[Shortage]:
    """Yield the kinds of device of which the node has too few that are no other job's."""
    for index, wanted in enumerate(job.devices):
        asked, have = wanted.count * job.vms_per_node, len(free_devices(node, wanted.name))
        if asked > have:
            times = f"{wanted.count} x {job.vms_per_node} = {asked}" if job.vms_per_node > 1 else str(asked)
            message = f"the job takes {times} `{wanted.name}`; {node.name} has {have or 'none'}"
            yield Shortage(Code.TOO_FEW_DEVICES, message, None, (("devices", index, "count"), ("devices", index)))


def free_devices(node: HostNode, kind: str) -> list[Device]:
    """Return the node's devices of a kind that no other job holds, by name."""
    found = [device for device in node.devices if device.kind == kind and device.name not in node.taken.devices]
    return sorted(found, key=lambda device: device.name)


def assigned(wanted: Sequence[DeviceRequest], node: HostNode, spans: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    """Return the names of each guest's devices; `spans` are the cells of each guest. There must be enough of them."""
    names: list[list[str]] = [[] for _ in spans]
    for one in wanted:
        free = free_devices(node, one.name)
        ways = [[min((_way(node, cell, device) for cell in own), default=NO_WAY) for device in free] for own in spans]
        for guest, device in _cheapest([row for row in ways for _ in range(one.count)]):
            names[guest // one.count].append(free[device].name)
    return [tuple(sorted(own)) for own in names]


def _way(node: HostNode, cell_id: int, device: Device) -> int:
    place = {cell.id: index for index, cell in enumerate(node.cells)}
    if device.cell not in place:
        return NO_WAY
    distances = node.cells[place[cell_id]].distances
    return distances[place[device.cell]] if distances else 10 if device.cell == cell_id else 20


def _cheapest(costs: list[list[int]]) -> list[tuple[int, int]]:
    """Give each row a column of its own, at the least cost in all: row after row, by the shortest augmenting path."""
    width = len(costs[0]) if costs else 0
    row_of: list[int | None] = [None] * width
    for row in range(len(costs)):
        came, least = _shortest(costs, row_of, row)
        column = min((c for c in range(width) if row_of[c] is None), key=lambda c: (least[c], c))
        while True:
            owner, before = came[column]
            row_of[column] = owner
            if before is None:
                break
            column = before
    return sorted((row, column) for column, row in enumerate(row_of) if row is not None)


def _shortest(
    costs: list[list[int]], row_of: list[int | None], start: int
) -> tuple[dict[int, tuple[int, int | None]], list[int]]:
    """The cheapest way for one more row to each column, other rows moving on (Bellman and Ford)."""
    came: dict[int, tuple[int, int | None]] = dict.fromkeys(range(len(row_of)), (start, None))
    least = list(costs[start])
    owned = [(column, owner) for column, owner in enumerate(row_of) if owner is not None]
    for _ in owned:
        for (column, owner), to in product(owned, range(len(row_of))):
            way = least[column] - costs[owner][column] + costs[owner][to]
            if way < least[to]:
                least[to], came[to] = way, (owner, column)
    return came, least
