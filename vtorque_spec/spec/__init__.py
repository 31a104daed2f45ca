"""JobSpec: what the user said, and its normal form."""

from typing import Annotated, Literal

from pydantic import Field

from vtorque_spec.spec.base import Duration, Form, Items, JobName, Model, PackageName, Size
from vtorque_spec.spec.batch import Batch
from vtorque_spec.spec.machine import Device, Disk, Image, Iocm, Mount, Network, Pinning, RootDisk
from vtorque_spec.spec.user import EnvValue, Hooks, Run

API_VERSION = "vtorque/v1"

VariableName = Annotated[str, Form(r"[A-Za-z_][A-Za-z0-9_]{0,254}", "a variable name: letters, digits and _")]


class Timeouts(Model):
    """How long to wait."""

    boot: Duration | None = Field(None, description="from the start of the guest until it can run the job")
    grace: Duration | None = Field(None, description="the job is told to stop this long before the walltime ends")


class Telemetry(Model):
    """Measurements of the running guests."""

    interval: Duration | None = Field(None, description="time between two measurements")


class JobSpec(Model):
    """A job that brings its own virtual machine."""

    apiVersion: Literal["vtorque/v1"] = Field(description="the version of this language")  # noqa: N815 - its word
    name: JobName = Field(description="name of the job, as in qsub -N")
    batch: Batch | None = Field(None, description="what to ask the batch system for")
    image: Image = Field(description="the image that the VM boots")
    guest: Literal["linux", "osv"] | None = Field(
        None, description="kind of guest; follows from the image, checked when said"
    )
    vcpus: Annotated[int, Field(ge=1, le=4096)] | None = Field(None, description="virtual CPUs per VM")
    memory: Size | None = Field(None, description="memory per VM")
    vms_per_node: Annotated[int, Field(ge=1, le=256)] | None = Field(None, description="VMs on each node")
    pinning: Pinning | None = Field(None, description="which host CPU runs which vCPU")
    iocm: Iocm | None = Field(None, description="dedicated I/O cores")
    hugepages: Literal["none", "any", "2MiB", "1GiB"] | None = Field(
        None, description="page size behind the guest's memory"
    )
    root_disk: RootDisk | None = Field(None, description="the disk that the guest boots from")
    disks: Items[Disk] | None = Field(None, description="further disks")
    mounts: Items[Mount] | None = Field(None, description="file systems of the site")
    network: Network | None = Field(None, description="the guest's network")
    shared_memory: Size | None = Field(None, description="memory shared between the VMs of this job on one node")
    devices: Items[Device] | None = Field(None, description="devices of the host handed to the guest")
    packages: Items[PackageName] | None = Field(
        None,
        description="distribution's packages to install in every VM before the job; those that the site allows",
    )
    hooks: Hooks | None = Field(None, description="scripts before and after the job, in the first VM")
    env: dict[VariableName, EnvValue] | None = Field(None, description="environment of the job; not for secrets")
    run: Run = Field(description="what the job runs: in the first VM, of OSv in each")
    timeouts: Timeouts | None = Field(None, description="how long to wait")
    telemetry: Telemetry | None = Field(None, description="measurements of the running guests")
    allow_degraded: Items[Literal["emulation", "unpinned"]] | None = Field(
        None, description="what may be done without where the node lacks it"
    )
