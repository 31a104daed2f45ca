"""Element trees to text. Values enter as text of an element or as an attribute, so that none can become markup."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from itertools import groupby

from vtorque_spec.fault import Fault

_UNCARRIED = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no form for (its section 2.2), and the line ends and tabs that readers turn into something else."""


def element(tag: str, *children: ET.Element | str, **attributes: str) -> ET.Element:
    """Return `<tag attributes>children</tag>`; a child that is text becomes the element's text.

    Raises Fault VT0604 for characters that XML does not carry unchanged.
    """
    node = ET.Element(tag, {name: _carried(value, f"{tag}/@{name}") for name, value in attributes.items()})
    for child in children:
        if isinstance(child, str):
            node.text = _carried(child, tag)
        else:
            node.append(child)
    return node


def numbers(values: Iterable[int]) -> str:
    """Return CPUs or cells as libvirt prints a set of them: ascending, neighbours as a range (`0-3,8`)."""
    runs = [list(run) for _, run in groupby(enumerate(sorted(set(values))), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)


def to_text(root: ET.Element) -> str:
    """Return the document, indented by two blanks and ending in a newline."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _carried(value: str, where: str) -> str:
    if found := _UNCARRIED.search(value):
        raise Fault("VT0604", f"the domain's {where} holds U+{ord(found[0]):04X}, which XML does not carry")
    return value
