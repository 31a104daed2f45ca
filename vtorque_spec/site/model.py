"""What a site's files say: facts about the cluster, and its images. Hard bounds, no defaults for jobs."""

from typing import Annotated, Literal

from pydantic import Field

from vtorque_spec.spec.base import Form, Model, Name, Size
from vtorque_spec.spec.machine import Digest

HostPath = Annotated[
    str,
    Form(
        r"(\$HOME|(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+(/\$USER)?)",
        "a directory of the host: $HOME, or an absolute path that may end in /$USER",
    ),
]
"""A path on the host or in the guest; `$HOME` and `$USER` are the job owner's."""

KernelArguments = Annotated[
    str, Form(r"[\x21-\x7e]+( [\x21-\x7e]+)*", "kernel arguments: printable ASCII, one space between two")
]


class NodeClass(Model):
    """Nodes that are alike."""

    cpus: Annotated[int, Field(ge=1, le=65536)] = Field(description="CPUs that jobs can be given")
    memory: Size = Field(description="memory that jobs can be given")


class SiteMount(Model):
    """A directory of the nodes that jobs may mount by name (virtiofs)."""

    source: HostPath = Field(description="directory on the node")
    target: HostPath = Field(description="where a guest mounts it unless the job says otherwise")
    mode: Literal["ro", "rw"] = Field(description="rw lets a job ask for either, ro for read-only alone")


class SiteNetwork(Model):
    """A network that jobs may name."""

    kind: Literal["isolated"] = Field(description="isolated: host and guest reach each other and nothing else")


class SiteFile(Model):
    """`site.yaml`."""

    apiVersion: Literal["vtorque-site/v1"] = Field(description="the version of this language")  # noqa: N815 - its word
    name: Name = Field(description="name of the site")
    batch: Literal["torque"] = Field(description="the batch system that scripts are compiled for")
    hypervisor: Literal["any", "kvm", "emulation"] = Field(description="what the nodes' guests run on")
    min_uid: Annotated[int, Field(ge=1)] = Field(description="users below have no jobs")
    node_classes: dict[Name, NodeClass] = Field(description="the kinds of nodes")
    mounts: dict[Name, SiteMount] = Field(description="directories that jobs may mount")
    networks: dict[Name, SiteNetwork] = Field(description="networks that jobs may name")


class CatalogueImage(Model):
    """One file of `images/`."""

    name: Name = Field(description="what job files call it")
    description: str = Field(description="one line for users")
    guest: Literal["linux"] = Field(description="kind of guest")
    arch: Literal["x86_64"] = Field(description="processor architecture")
    recipe: Name | None = Field(None, description="the shipped recipe that builds it")
    sha256: Digest | None = Field(None, description="digest of its disk; may be absent at the site `local` alone")
    min_memory: Size = Field(description="least memory that a guest needs")
    min_disk: Size = Field(description="size of its disk; a guest's root disk is at least as large")
    cmdline: KernelArguments = Field(description="kernel command line")
