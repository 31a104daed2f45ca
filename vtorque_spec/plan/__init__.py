"""What passes from stage to stage: JobPlan, NodeContext, NodePlan, and the files made from them.

Frozen dataclasses on the standard library, because the root runtime reads them too. Sizes are bytes, durations are
seconds, CPUs are the host's numbers, paths are absolute. JSON form: `vtorque_spec.canonical`.
"""

from vtorque_spec.plan.context import (
    BridgeNic,
    Cell,
    CellMemory,
    Claim,
    Device,
    Group,
    HostKey,
    ImageFiles,
    Login,
    NodeContext,
    Pages,
    Slot,
    UserNic,
    lowest_cores,
)
from vtorque_spec.plan.job import (
    BatchRequest,
    DeviceRequest,
    Flavour,
    Hugepages,
    Image,
    Iocm,
    JobPlan,
    Mount,
    NodeRequest,
    Pinning,
    Script,
    UserPart,
    Variable,
)
from vtorque_spec.plan.node import (
    Artifact,
    CpuTopology,
    Disk,
    Filesystem,
    Guest,
    GuestCell,
    GuestMemory,
    IoCores,
    LinuxGuest,
    Machine,
    NodeBundle,
    NodePlan,
    Pins,
)

VERSION = 1
"""Of every type in this package; a change that an older reader would misread raises it."""

MIB = 1024 * 1024

__all__ = [
    "MIB",
    "VERSION",
    "Artifact",
    "BatchRequest",
    "BridgeNic",
    "Cell",
    "CellMemory",
    "Claim",
    "CpuTopology",
    "Device",
    "DeviceRequest",
    "Disk",
    "Filesystem",
    "Flavour",
    "Group",
    "Guest",
    "GuestCell",
    "GuestMemory",
    "HostKey",
    "Hugepages",
    "Image",
    "ImageFiles",
    "IoCores",
    "Iocm",
    "JobPlan",
    "LinuxGuest",
    "Login",
    "Machine",
    "Mount",
    "NodeBundle",
    "NodeContext",
    "NodePlan",
    "NodeRequest",
    "Pages",
    "Pinning",
    "Pins",
    "Script",
    "Slot",
    "UserNic",
    "UserPart",
    "Variable",
    "lowest_cores",
]
