"""The picture of a node as JSON; docs/plan.md describes its members. Members are added, never renamed."""

import json
from typing import Any

from vtorque_spec.placement.picture import Picture, PictureCell, PictureCore, PicturePages

VERSION = 1


def text(picture: Picture) -> str:
    """Return the picture as one JSON object, with its keys sorted."""
    return json.dumps(data(picture), indent=2, sort_keys=True) + "\n"


def data(picture: Picture) -> dict[str, Any]:
    """Return the picture as plain data; sizes are bytes, CPUs the kernel's numbers, guests count from 1."""
    return {
        "version": VERSION,
        "job": picture.job,
        "node": picture.node,
        "floating": picture.floating,
        "host_memory_bytes": picture.host_memory_bytes,
        "cells": [_cell(cell) for cell in picture.cells],
        "devices_elsewhere": _devices(picture.devices_elsewhere),
        "asked": [{"word": word, "value": value} for word, value in picture.asked],
        "reasons": list(picture.reasons),
    }


def _cell(cell: PictureCell) -> dict[str, Any]:
    return {
        "id": cell.id,
        "socket": cell.socket,
        "cores": [_core(core) for core in cell.cores],
        "memory_bytes": cell.memory_bytes,
        "host_memory_bytes": cell.host_memory_bytes,
        "used": [{"guest": guest, "bytes": part} for guest, part in cell.used],
        "hugepages": [_pages(pages) for pages in cell.hugepages],
        "devices": _devices(cell.devices),
    }


def _pages(pages: PicturePages) -> dict[str, Any]:
    used = [{"guest": guest, "pages": part} for guest, part in pages.used]
    return {"page_bytes": pages.page_bytes, "pages": pages.there, "used": used}


def _core(core: PictureCore) -> dict[str, Any]:
    return {"cpus": list(core.cpus), "owner": core.owner, "guest": core.guest, "vcpus": list(core.vcpus)}


def _devices(devices: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"kind": kind, "name": name} for kind, name in devices]
