"""The command line of an OSv guest that boots from its disk: in the job's own overlay, never in the image.

Who writes there reads what is around it, from the image. So qemu-io does it as nobody, in the two files that it is
given open. Its word is not taken: the line is read again, without it.
"""

import os
import subprocess
from pathlib import Path

from vtorque_runtime.confine import Limits, call_as, reader_ids
from vtorque_runtime.images.owned import open_stored
from vtorque_runtime.images.qcow2 import Qcow2
from vtorque_spec.fault import Fault
from vtorque_spec.plan import COMMAND_LINE_OFFSET, MIB, Disk

_SECTOR_BYTES = 512
_LIMIT_S = 60
_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
_GROWTH_BYTES = MIB
"""Of an overlay that gets its first cluster, and the tables that lead there."""


def write_command_line(overlay: Disk, line: str) -> None:
    """Write `line` with a NUL at its end where the boot sector reads it. Raises Fault VT0503, VT0905, VT0914.

    For root the overlay is nobody's meanwhile, so it lies in a directory that root alone enters.
    """
    text = line.encode() + b"\0"
    text += bytes(-len(text) % _SECTOR_BYTES)
    (uid, gid), image_format = reader_ids(), overlay.backing_format
    descriptor = os.open(overlay.file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "r+b") as disk, open_stored(Path(overlay.backing or "")) as image:
        files = disk.fileno(), image.fileno()
        most = os.fstat(descriptor).st_size + _GROWTH_BYTES
        limits = Limits(time_s=_LIMIT_S + 5, memory_bytes=1024 * MIB, result_bytes=MIB, file_bytes=most)
        os.fchown(descriptor, uid, -1)
        try:
            call_as(uid, gid, (), _write, *files, image_format, text, limits=limits, keep=files)
        finally:
            os.fchown(descriptor, os.geteuid(), -1)


# --- in the confined child --------------------------------------------------------------------------------------------


def _write(disk: int, image: int, image_format: str, text: bytes) -> bytes:
    options = (
        f"driver=qcow2,file.driver=file,file.filename=/proc/self/fd/{disk}"
        f",backing.driver={image_format},backing.file.driver=file,backing.file.filename=/proc/self/fd/{image}"
    )
    command = f"write -s /dev/stdin {COMMAND_LINE_OFFSET} {len(text)}"
    try:
        done = subprocess.run(
            ["qemu-io", "--image-opts", "-c", command, options],
            env=_ENVIRONMENT, input=text, pass_fds=(disk, image), capture_output=True, timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise Fault("VT0905", "this host has no qemu-io", help="apt install qemu-utils") from None
    except subprocess.TimeoutExpired:
        raise Fault("VT0914", f"qemu-io took more than {_LIMIT_S} s to write the command line") from None
    if done.returncode or not _is_there(disk, text):
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
        detail = f"exit code {done.returncode}: {said}"
        raise Fault("VT0914", "qemu-io could not write the command line into the root disk", detail=detail)
    return b""


def _is_there(disk: int, text: bytes) -> bool:
    found = Qcow2(disk, "the root disk").first_bytes(COMMAND_LINE_OFFSET + len(text))
    return found is not None and found[COMMAND_LINE_OFFSET:] == text
