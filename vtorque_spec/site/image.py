"""What a catalogue entry says: one image, or one revision of it."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from vtorque_spec.spec.base import Form, Items, Model, Name, Size, exactly_one, form_error
from vtorque_spec.spec.machine import Digest, KernelArguments
from vtorque_spec.units import print_size


def real_day(text: str) -> str:
    """Return the text of a day that the calendar has; raises PydanticCustomError."""
    try:
        date.fromisoformat(text)
    except ValueError:
        raise form_error(text, "a day: YYYY-MM-DD, as in 2027-03-31") from None
    return text


DiskPath = Annotated[
    str,
    Form(r"(/[A-Za-z0-9_][A-Za-z0-9_.,:+@=-]*)+", "a file of the host: an absolute path, as in /srv/images/a.qcow2"),
]

Day = Annotated[
    str, Form(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a day: YYYY-MM-DD, as in 2027-03-31"), AfterValidator(real_day)
]

Distribution = Annotated[
    str,
    Form(
        r"[a-z][a-z0-9_]*(-[0-9]+(\.[0-9]+)*)?",
        "a distribution: ID and VERSION_ID of its os-release with a dash between them, as in debian-12",
    ),
]
"""https://www.freedesktop.org/software/systemd/man/latest/os-release.html"""

Line = Annotated[
    str,
    Form(
        r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*",
        "a text of one line: without line breaks and control characters",
    ),
]

OSV_MEMORY_BYTES = 64 * 2**20
"""It starts with 16 MiB, with nothing to spare for a program."""


class Osv(Model):
    """What an image of OSv is like."""

    boot: Literal["kernel", "disk"] = Field(
        description="kernel: QEMU starts its kernel and hands the command line over; disk: that is written into a disk"
    )
    options: Literal["mainline", "fork-2018"] | None = Field(
        None, description="which options its kernel knows: OSv's, or those of MIKELANGELO's fork; mainline if absent"
    )
    rootfs: Literal["rofs", "zfs", "ramfs", "ext"] | None = Field(
        None, description="its root file system; its kernel looks for one if absent"
    )
    cloud_init: bool | None = Field(None, description="whether it has OSv's cloud-init module; no if absent")
    config_sets: Items[Name] | None = Field(
        None, description="the Capstan config sets that jobs may run: files of its directory /run"
    )

    @model_validator(mode="after")
    def of_the_fork(self) -> Self:
        """QEMU would hand a kernel of the fork (multiboot) its own file's name before the command line."""
        if self.options == "fork-2018" and self.boot == "kernel":
            raise exactly_one("a kernel of fork-2018 reads its command line from the disk alone", "write `boot: disk`")
        if self.options == "fork-2018" and self.rootfs is not None:
            raise exactly_one("a kernel of fork-2018 has no option for its root file system", "remove `rootfs`")
        return self


class CatalogueImage(Model):
    """One file of `images/`: an image, or one revision of it."""

    name: Name = Field(description="what job files call it")
    revision: Name | None = Field(
        None, description="what jobs may pin it by, as in debian-12:2026-11; needed where a name has several entries"
    )
    description: Line = Field(description="one line for users")
    state: Literal["current", "deprecated", "withdrawn"] | None = Field(
        None, description="deprecated: jobs are warned; withdrawn: jobs are refused; current if absent"
    )
    deprecated_until: Day | None = Field(None, description="the last day of a deprecated image")
    successor: Name | None = Field(
        None, description="what to take instead of one that is not current; the newest revision of its name if absent"
    )
    guest: Literal["linux", "osv"] = Field(description="kind of guest")
    distro: Distribution | None = Field(None, description="what is installed in it, as in debian-12 and rocky-9")
    arch: Literal["x86_64"] = Field(description="processor architecture")
    tags: Items[Name] | None = Field(
        None, description="words that policies choose images by, as in `imageIn: [tag=cfd]`"
    )
    capabilities: Items[Literal["virtiofs", "9p", "nfs", "mpi", "apt", "dnf"]] | None = Field(
        None,
        description="what is in it: file systems that it mounts, launchers of MPI, apt or dnf; [virtiofs] if absent",
    )
    path: DiskPath | None = Field(None, description="where its disk is kept, for `site check --images`")
    recipe: Name | None = Field(None, description="the shipped recipe that builds it")
    format: Literal["qcow2", "raw"] | None = Field(None, description="format of its disk; qcow2 if absent")
    provenance: Line | None = Field(None, description="where it comes from: who made it, and from what")
    sha256: Digest | None = Field(None, description="digest of its disk; may be absent at the site `local` alone")
    min_memory: Size = Field(description="least memory that a guest needs")
    min_disk: Size = Field(description="size of its disk; a guest's root disk is at least as large")
    cmdline: KernelArguments | None = Field(None, description="kernel command line, of a Linux image")
    osv: Osv | None = Field(None, description="what an OSv image is like")

    @model_validator(mode="after")
    def of_its_kind(self) -> Self:
        """A Linux image has a kernel command line, an OSv image what is said of those."""
        wanted, other = ("cmdline", "osv") if self.guest == "linux" else ("osv", "cmdline")
        if getattr(self, wanted) is None:
            raise exactly_one(f"the image of a guest {self.guest} needs the member {wanted}")
        if getattr(self, other) is not None:
            raise exactly_one(f"the image of a guest {self.guest} has no {other}", f"remove `{other}`")
        if self.osv is not None and self.min_memory < OSV_MEMORY_BYTES:
            need = print_size(OSV_MEMORY_BYTES)
            raise exactly_one(f"no OSv guest has less memory than {need}", f"write `min_memory: {need}` or more")
        return self
