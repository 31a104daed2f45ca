"""What `vtorque site check --images` looks at: the disks of the catalogue's images."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vtorque_spec.cli.progress import file_bars
from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Document
from vtorque_spec.driver import of_fault
from vtorque_spec.fault import Fault
from vtorque_spec.site import Files
from vtorque_spec.site.host import check_image_files
from vtorque_spec.site.image import CatalogueImage

if TYPE_CHECKING:
    from vtorque_runtime.images.inspect import Format


@dataclass(frozen=True, slots=True)
class _Disk:
    """The disk of an entry, at its `path` or in this machine's store."""

    image: CatalogueImage
    document: Document
    path: Path
    format: "Format"


def check_disks(files: Files, report: Report) -> None:
    """Compare each disk that the catalogue gives a `path` with its digest; inspect those that are what they were.

    Inspects the disks in this machine's store as well, whose digests are `vtorque image verify`'s to compare. Raises
    Fault VT0503 for a store that is damaged.
    """
    with file_bars() as progress:
        whole = check_image_files(files, progress, report)
    _inspect(chain(_named(whole), _stored(files)), report)


def _named(images: Iterable[tuple[CatalogueImage, Document]]) -> Iterator[_Disk]:
    for image, document in images:
        path = Path(image.path or "").resolve()  # its owner was looked at, and that of each directory on the way
        yield _Disk(image, document, path, image.format or "qcow2")


def _stored(files: Files) -> Iterator[_Disk]:
    from vtorque_runtime.images import store

    stored = {(one.name, one.disk.sha256): one for one in store.records(store.SYSTEM_STORE)}
    for image, document in files.images:
        record = stored.get((image.name, image.sha256 or ""))
        if image.path is None and record is not None:
            yield _Disk(image, document, Path(record.files(store.SYSTEM_STORE).disk), record.disk_format)


def _inspect(disks: Iterable[_Disk], report: Report) -> None:
    from vtorque_runtime.images.inspect import inspect, open_file

    for one in disks:
        try:
            descriptor = open_file(one.path)
            try:
                is_osv = inspect(descriptor, one.format, str(one.path)).osv
            finally:
                os.close(descriptor)
        except Fault as fault:
            place = one.document.span(("path",) if one.image.path else ("name",))
            report.items.append(replace(of_fault(fault), span=place))
            if fault.code == "VT0905":
                return  # without the inspectors none can be inspected: told once
        else:
            _check_guest(one, is_osv, report)


def _check_guest(disk: _Disk, is_osv: bool, report: Report) -> None:
    """The disk has OSv's mark where the firmware starts OSv from it, and never where the guest is Linux."""
    osv = disk.image.osv
    if (osv is not None) == is_osv or (osv is not None and osv.boot == "kernel"):
        return
    message = f"{disk.path} {'has' if is_osv else 'lacks'} OSv's boot loader, and the guest is {disk.image.guest}"
    hint = "correct `guest` and what goes with it, or name the right disk"
    report.add(Code.IMAGE_PARTS, message, disk.document.span(("guest",)), help=hint)
