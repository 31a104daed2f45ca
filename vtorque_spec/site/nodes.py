"""The node sets of a site's classes, by ClusterShell: each is readable, and no node is in two of them."""

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations
from math import prod

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

from vtorque_spec.diagnostics import Code, Note, Report
from vtorque_spec.document import Document
from vtorque_spec.site.model import NodeClass

NODES_LIMIT = 100_000
"""More nodes than any cluster has; ClusterShell writes every one of them out."""


def check_nodes(classes: Mapping[str, NodeClass], document: Document, report: Report) -> None:
    """Check the `nodes` of all classes; `document` is `site.yaml`."""
    sets = {}
    for name, said in classes.items():
        if said.nodes is not None:
            found = read_nodes(said.nodes)
            if isinstance(found, NodeSet):
                sets[name] = found
            else:
                place = document.span(("node_classes", name, "nodes"))
                hint = "write names and ascending ranges, as in n[001-128] or n1,n2"
                report.add(Code.NODE_SET, f"the node set `{said.nodes}` cannot be read: {found}", place, help=hint)
    for (name, nodes), (later, others) in combinations(sets.items(), 2):
        both = nodes & others
        if both:
            notes = [Note(f"`{name}` is here", document.span(("node_classes", name, "nodes")))]
            what = "the node" if len(both) == 1 else f"{len(both)} nodes:"
            message = f"the classes `{name}` and `{later}` have {what} {both} in common"
            place, hint = document.span(("node_classes", later, "nodes")), "put each node into one class"
            report.add(Code.NODES_TWICE, message, place, notes=notes, help=hint)


def class_of_node(classes: Mapping[str, NodeClass], node: str) -> str | None:
    """Return the class whose `nodes` have that name; None when none does."""
    for name, said in classes.items():
        found = read_nodes(said.nodes) if said.nodes is not None else ""
        if isinstance(found, NodeSet) and node in found:
            return name
    return None


@lru_cache(maxsize=8)
def read_nodes(text: str) -> NodeSet | str:
    """Return the nodes, not to be changed, or why the text is none. Groups are none: looking them up runs programs."""
    if "@" in text:
        return "groups are not known here"
    if _at_most(text) > NODES_LIMIT:
        return f"it has more than {NODES_LIMIT} nodes"
    try:
        return NodeSet(text, resolver=RESOLVER_NOGROUP)
    except NodeSetException as error:
        return str(error).partition(":")[0].lower()  # what follows repeats the text


def _at_most(text: str) -> int:
    """The number of nodes that ranges in brackets give, counted without writing them out."""
    return sum(
        prod(sum(map(_length, group.split(","))) for group in re.findall(r"\[([^][]*)\]", part))
        for part in re.split(r",(?![^\[]*\])", text)
    )


def _length(numbers: str) -> int:
    match = re.fullmatch(r"([0-9]+)-([0-9]+)(/[0-9]+)?", numbers)
    return max(1, int(match[2]) - int(match[1]) + 1) if match else 1
