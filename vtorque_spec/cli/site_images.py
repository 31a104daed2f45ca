"""What `vtorque site check --images` looks at: the disks that the catalogue names."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vtorque_spec.cli.progress import file_bars
from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import Document
from vtorque_spec.driver import of_fault
from vtorque_spec.fault import Fault
from vtorque_spec.site import Files
from vtorque_spec.site.host import check_image_files
from vtorque_spec.site.image import CatalogueImage


def check_disks(files: Files, report: Report) -> None:
    """Compare each disk that the catalogue gives a `path` with its digest; inspect those that are what they were."""
    with file_bars() as progress:
        whole = check_image_files(files, progress, report)
    _inspect(whole, report)


def _inspect(images: Iterable[tuple[CatalogueImage, Document]], report: Report) -> None:
    from vtorque_runtime.images.inspect import inspect, open_file

    for image, document in images:
        path = Path(image.path or "").resolve()  # its owner was looked at, and that of each directory on the way
        try:
            descriptor = open_file(path)
            try:
                is_osv = inspect(descriptor, image.format or "qcow2", str(path)).osv
            finally:
                os.close(descriptor)
        except Fault as fault:
            report.items.append(replace(of_fault(fault), span=document.span(("path",))))
            if fault.code == "VT0905":
                return  # without the inspectors none can be inspected: told once
        else:
            _check_guest(image, document, is_osv, report)


def _check_guest(image: CatalogueImage, document: Document, is_osv: bool, report: Report) -> None:
    """The disk has OSv's mark where the firmware starts OSv from it, and never where the guest is Linux."""
    wanted = image.osv is not None
    if wanted == is_osv or (image.osv is not None and image.osv.boot == "kernel"):
        return
    message = f"{image.path} {'lacks' if wanted else 'has'} OSv's boot loader, and the guest is {image.guest}"
    hint = "correct `guest` and what goes with it, or `path`"
    report.add(Code.IMAGE_PARTS, message, document.span(("guest",)), help=hint)
