"""The virtual machine's own members: image, CPUs, memory, disks, mounts, network, devices."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from vtorque_spec.spec.base import (
    FilePath,
    Form,
    GuestPath,
    Items,
    Model,
    Name,
    Shorthand,
    Size,
    exactly_one,
    form_error,
    one_of,
)

Digest = Annotated[str, Form(r"[0-9a-f]{64}", "64 hexadecimal digits: all 64, in lower case, as sha256sum prints them")]

_IMAGE = (
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,62})"
    r"(:(?P<revision>[A-Za-z0-9._-]{1,63}))?(@sha256:(?P<sha256>[0-9a-f]{64}))?"
)


KernelArguments = Annotated[
    str, Form(r"[\x21-\x7e]+( [\x21-\x7e]+)*", "kernel arguments: printable ASCII, one space between two")
]


class Image(Shorthand):
    """An image of the site's catalogue, or one's own, which says its files.

    Short form: `NAME`, `NAME:REVISION`, `NAME@sha256:HEX` or both.
    """

    shorthand: ClassVar[str] = "name"
    name: Name = Field(description="name in the catalogue; of one's own image one that is not there")
    sha256: Digest | None = Field(None, description="only the image with this digest")
    revision: Name | None = Field(None, description="only this revision")
    disk: FilePath | None = Field(None, description="of one's own image: the file of its disk, qcow2 or raw")
    kernel: FilePath | None = Field(None, description="of one's own image: the file of its Linux kernel")
    initrd: FilePath | None = Field(None, description="of one's own image: the file of its initrd")
    cmdline: KernelArguments | None = Field(None, description="of one's own image: what its kernel is started with")

    @model_validator(mode="after")
    def whole(self) -> Self:
        """One's own image has all of its files, and no pins; an image of the catalogue has none of them."""
        said = [member for member in OWN_MEMBERS if getattr(self, member) is not None]
        lacking = [member for member in OWN_MEMBERS if member not in said]
        pins = [member for member in ("sha256", "revision") if getattr(self, member) is not None]
        if said and lacking:
            message = f"one's own image needs {', '.join(OWN_MEMBERS)}, and has no {' and '.join(lacking)}"
            raise exactly_one(message, f"add {', '.join(f'`{member}: ...`' for member in lacking)}")
        if said and pins:
            raise exactly_one(f"one's own image has no {' and '.join(pins)}", f"remove `{pins[0]}`")
        return self

    @classmethod
    def from_scalar(cls, value: object) -> dict[str, object]:
        """Split the short form."""
        if not isinstance(value, str):
            return {"name": value}
        match = re.fullmatch(_IMAGE, value)
        if match is None:
            raise form_error(
                value, "an image: NAME, NAME:REVISION or NAME@sha256:DIGEST, which has 64 hexadecimal digits"
            )
        return {k: v for k, v in match.groupdict().items() if v}

    @classmethod
    def scalar_schema(cls, members: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of the short form with its digest or revision."""
        return {"type": "string", "pattern": "^" + re.sub(r"\?P<\w+>", "", _IMAGE) + "$"}


OWN_FILES = ("disk", "kernel", "initrd")
OWN_MEMBERS = (*OWN_FILES, "cmdline")
"""What an image of one's own says, and one of the catalogue does not."""

CpuMap = Items[Annotated[int, Field(ge=0, le=65535)]]
"""Places of CPUs in a list."""


class Pinning(Shorthand):
    """Which host CPU runs which vCPU; short form: the mode."""

    shorthand: ClassVar[str] = "mode"
    mode: Literal["auto", "none", "compact", "spread", "numad", "map", "file"] | None = Field(
        None, description="how CPUs are chosen"
    )
    map: Annotated[CpuMap, Field(min_length=1)] | None = Field(
        None,
        description="for each vCPU, VM by VM, the place of its CPU, from 0, in the ascending list of the job's CPUs",
    )
    file: FilePath | None = Field(None, description="a YAML file that holds such a map: `map: [0, 1]`")

    @model_validator(mode="before")
    @classmethod
    def name_the_mode(cls, data: object) -> object:
        """`{map: [...]}` alone says the mode; so does `{file: ...}`."""
        if isinstance(data, dict) and "mode" not in data:
            said = [member for member in ("map", "file") if member in data]
            return {"mode": said[0], **data} if len(said) == 1 else data
        return data

    @model_validator(mode="after")
    def fits_the_mode(self) -> Self:
        """A map belongs to the mode `map`, a file to `file`, nothing to the others."""
        said = [member for member in ("map", "file") if getattr(self, member) is not None]
        wanted = [self.mode] if self.mode in ("map", "file") else []
        if self.mode is None:
            one_of(self, "mode", "map", "file")
        elif wanted and not said:
            raise exactly_one(f"the mode {self.mode} needs the member {self.mode}", f"write {{{self.mode}: ...}}")
        elif said != wanted:
            raise exactly_one(f"the mode {self.mode} and {' and '.join(said)} exclude each other", "keep one of them")
        return self


class Iocm(Shorthand):
    """Cores of each node that do nothing but the guests' I/O; short form: true or false."""

    shorthand: ClassVar[str] = "enabled"
    enabled: bool | None = Field(
        None, description="whether there are I/O cores; a mapping without this member says true"
    )
    min_cores: Annotated[int, Field(ge=0, le=4096)] | None = Field(None, description="so many work from the start")
    max_cores: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="so many are set aside on each node, and can be put to work while the job runs"
    )

    @model_validator(mode="before")
    @classmethod
    def enable(cls, data: object) -> object:
        """Naming figures switches I/O cores on."""
        return {"enabled": True, **data} if isinstance(data, dict) else data


class RootDisk(Model):
    """The disk that the guest boots from: a throw-away layer above the image."""

    backing: Literal["shared", "local", "ram"] | None = Field(None, description="where the image below is read from")
    size: Size | None = Field(None, description="size that the guest sees")


class Disk(Model):
    """A further disk: empty at first, the owner's, gone with the job."""

    name: Name = Field(description="name of the disk")
    size: Size = Field(description="size that the guest sees")
    mount: GuestPath = Field(description="where the guest mounts it")
    attach: Literal["first", "all"] | None = Field(
        None, description="to the first VM of the job, or to all; the first if absent"
    )
    persist: Name | None = Field(None, description="a volume that outlives the job")


class Mount(Shorthand):
    """A file system that the site offers by name; short form: the name."""

    shorthand: ClassVar[str] = "name"
    name: Name = Field(description="name of the mount at the site")
    target: GuestPath | None = Field(None, description="where the guest mounts it")
    mode: Literal["ro", "rw"] | None = Field(None, description="read-only or read-write")


class Network(Shorthand):
    """The guest's network; short form: the name."""

    shorthand: ClassVar[str] = "name"
    name: Name | None = Field(None, description="name of the network at the site")
    rdma: Literal["none", "sriov", "vdpa", "legacy"] | None = Field(
        None, description="how the guest reaches the RDMA fabric"
    )


class Device(Model):
    """Devices of the host that are handed to the guest."""

    name: Name = Field(description="name of the site's pool of devices")
    count: Annotated[int, Field(ge=1, le=64)] | None = Field(None, description="how many, per VM")
