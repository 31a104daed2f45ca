"""Whether KVM really works here. That /dev/kvm exists is no proof, nor that a machine starts: nested in another virtual
machine it may run a guest's instructions a thousand times slower than emulation does.
"""

import re
import resource
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Protocol

from vtorque_spec.fault import Fault

_CPU_LIMIT_S = 1
"""What a KVM that works needs a twentieth of, however busy the node is."""

_LIMIT_S = 10
"""For one that only waits."""

_PROVEN = 33
"""QEMU's exit code when a guest writes 16 to the port of isa-debug-exit."""

_QEMU = (
    *("qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "32", "-nodefaults"),
    *("-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-bios"),
)

_LOOP = bytes.fromhex(
    "66b9 00e1f505"  # mov ecx, 100000000: 50 ms on a CPU of today
    "6649"  #           loop: dec ecx
    "75fc"  #           jnz loop
    "baf400"  #         mov dx, 0xf4
    "b010"  #           mov al, 16
    "ee"  #             out dx, al
    "f4"  #             hlt
)
_HLT = b"\xf4"
_ROM_BYTES = 0x10000
_LOOP_AT, _RESET_AT = 0xFF00, 0xFFF0  # in the ROM; an x86 CPU starts at the second


class Prober(Protocol):
    """What finding out needs of a hypervisor."""

    def try_domain(self, xml: str) -> str | None:
        """Start a domain without running it and end it; return None, or why it can't start."""


def fault(hypervisor: Prober) -> str | None:
    """Return why KVM can't be used, or None when it works, both for QEMU alone and as libvirt starts it.

    Takes up to 1 s of CPU time where /dev/kvm exists. Raises Fault VT0905 without QEMU.
    """
    if not Path("/dev/kvm").exists():
        return "no /dev/kvm"
    words = _loop_fault() or hypervisor.try_domain(_DOMAIN.format(uuid=uuid.uuid4()))
    return None if words is None else re.sub(r"^.*qemu-system-x86_64: ", "", words.strip().splitlines()[-1])[:100]


def _loop_fault() -> str | None:
    with tempfile.NamedTemporaryFile(prefix="vtorque-kvm-", suffix=".rom") as file:
        file.write(_rom())
        file.flush()
        try:
            qemu = subprocess.Popen(
                [*_QEMU, file.name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise Fault("VT0905", f"this host has no {_QEMU[0]}", help="apt install qemu-system-x86") from None
        with qemu:
            resource.prlimit(qemu.pid, resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S + 1))
            try:
                _, said = qemu.communicate(timeout=_LIMIT_S)
            except subprocess.TimeoutExpired:
                qemu.kill()
                return f"a short loop took more than {_LIMIT_S} s"
    if qemu.returncode == -signal.SIGXCPU:
        return f"a short loop took more than {_CPU_LIMIT_S} s of CPU time"
    if qemu.returncode == _PROVEN:
        return None
    return said.decode("utf-8", "replace").strip() or f"QEMU ended with {qemu.returncode}"


def _rom() -> bytes:
    """A firmware that is nothing but the loop."""
    jump = b"\xe9" + (_LOOP_AT - (_RESET_AT + 3)).to_bytes(2, "little", signed=True)
    image = _LOOP.rjust(_LOOP_AT + len(_LOOP), _HLT).ljust(_RESET_AT, _HLT) + jump
    return image.ljust(_ROM_BYTES, _HLT)


_DOMAIN = """\
<domain type='kvm'>
  <name>vt-probe-{uuid}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu mode='host-passthrough'/>
  <devices><memballoon model='none'/></devices>
</domain>
"""
