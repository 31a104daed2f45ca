"""What a site's files say of its networks."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from vtorque_spec.spec.base import Form, Items, Model, exactly_one

NodeNames = Annotated[
    str,
    Form(r"[A-Za-z0-9\[][A-Za-z0-9_.,/\[\]-]{0,4095}", "a node set: names and ranges, as in n[001-128] or n1,n2"),
]
"""A node set of ClusterShell without groups and operators, which mean something else on each machine."""

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

Address = Annotated[
    str, Form(rf"{_OCTET}(\.{_OCTET}){{3}}", "an IPv4 address: four numbers up to 255, as in 10.20.0.1")
]

LinkName = Annotated[
    str, Form(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", "the name of a network link: at most 15 characters, as in br0")
]

HostName = Annotated[
    str,
    Form(
        r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?",
        "a name or an address: letters, digits, dots and -, as in ntp.example.org",
    ),
]


def _whole_network(value: str) -> str:
    from ipaddress import IPv4Network  # most sites' commands do without

    try:
        IPv4Network(value)
    except ValueError:
        wanted = f"`{value}` is not an IPv4 network: it has bits beyond its prefix"
        raise PydanticCustomError(
            "form", "{message}", {"message": wanted, "help": "write it as in 10.20.0.0/16"}
        ) from None
    return value


Subnet = Annotated[
    str,
    Form(
        rf"{_OCTET}(\.{_OCTET}){{3}}/([1-9]|[12][0-9]|30)",
        "an IPv4 network: its first address and its prefix, as in 10.20.0.0/16",
    ),
    AfterValidator(_whole_network),
]


class SiteAddresses(Model):
    """Which addresses the VMs on a bridge have: VM slot s of the n-th node has first + n * slots + s."""

    first: Address = Field(description="the address of the first VM slot of the first node")
    slots: Annotated[int, Field(ge=1, le=4096)] = Field(description="VM slots of a node")
    nodes: NodeNames = Field(description="the nodes, as a node set of ClusterShell; a node keeps its place in it")


class SiteNetwork(Model):
    """A network that jobs may name."""

    kind: Literal["isolated", "nat", "user", "bridge"] = Field(
        description="isolated: host and guests reach each other and nothing else; nat: and what the host reaches; "
        "user: QEMU's own, each guest alone; bridge: a bridge that the nodes have"
    )
    bridge: LinkName | None = Field(None, description="the bridge's name on the nodes")
    subnet: Subnet | None = Field(None, description="the bridge's network")
    addresses: SiteAddresses | None = Field(None, description="the table of the VMs' addresses on the bridge")
    gateway: Address | None = Field(None, description="the guests' way out of the bridge's network; none if absent")
    dns: Items[Address] | None = Field(None, description="name servers")
    search: Items[HostName] | None = Field(None, description="domains that names are looked up in")
    ntp: Items[HostName] | None = Field(None, description="time servers")
    unfiltered: bool | None = Field(
        None, description="whether guests may send from any address, where the host cannot filter; no if absent"
    )
    osv: bool | None = Field(
        None, description="whether OSv guests may be on the bridge, each of whose users can claim any uid; no if absent"
    )

    @model_validator(mode="after")
    def fits_the_kind(self) -> Self:
        """A bridge needs its facts, the others have none; QEMU's own network is set up by QEMU."""
        said = [name for name in type(self).model_fields if name != "kind" and getattr(self, name) is not None]
        missing = [name for name in _BRIDGE if self.kind == "bridge" and name not in said]
        foreign = [name for name in said if name not in _MEMBERS[self.kind]]
        if missing:
            raise exactly_one(f"the kind bridge needs {' and '.join(missing)}", "write what the nodes have")
        if foreign:
            raise exactly_one(f"the kind {self.kind} has no {' and no '.join(foreign)}", f"remove `{foreign[0]}`")
        return self


_BRIDGE = ("bridge", "subnet", "addresses")
_SERVICES = ("dns", "search", "ntp")
_MEMBERS = {
    "isolated": ("unfiltered",),
    "nat": (*_SERVICES, "unfiltered"),
    "user": (),
    "bridge": (*_BRIDGE, "gateway", *_SERVICES, "unfiltered", "osv"),
}
"""What a network of each kind may say."""
