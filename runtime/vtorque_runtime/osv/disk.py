"""The command line of an OSv guest that boots from its disk: in the job's own overlay, never in the image."""

import subprocess
import tempfile
from pathlib import Path

from vtorque_spec.fault import Fault
from vtorque_spec.plan import COMMAND_LINE_OFFSET, Disk

_SECTOR_BYTES = 512
_LIMIT_S = 60


def write_command_line(overlay: Disk, line: str) -> None:
    """Write `line` with a NUL at its end where the boot sector reads it. Raises Fault VT0905, VT0914."""
    text = line.encode() + b"\0"
    text += bytes(-len(text) % _SECTOR_BYTES)
    with tempfile.NamedTemporaryFile(dir=Path(overlay.file).parent) as file:
        file.write(text)
        file.flush()
        command = f"write -s {file.name} {COMMAND_LINE_OFFSET} {len(text)}"
        argv = ["qemu-io", "-f", overlay.format, "-c", command, overlay.file]
        try:
            done = subprocess.run(
                argv, env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S,
                check=False, encoding="utf-8", errors="replace",
            )  # fmt: skip
        except FileNotFoundError:
            raise Fault("VT0905", "this host has no qemu-io", help="apt install qemu-utils") from None
        except subprocess.TimeoutExpired:
            raise Fault("VT0914", f"qemu-io took more than {_LIMIT_S} s to write the command line") from None
    # qemu-io ends with 0 for a write that failed, and says what it wrote only when it did
    if done.returncode or f"wrote {len(text)}/{len(text)} bytes at offset {COMMAND_LINE_OFFSET}" not in done.stdout:
        said = (done.stderr + done.stdout).strip()
        raise Fault("VT0914", "qemu-io could not write the command line into the root disk", detail=said)
