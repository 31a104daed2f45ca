"""The guest's part of its network: the card, the names of the job's guests, name servers and time servers."""

from collections.abc import Sequence

from vtorque_spec.plan import JobVm, LinuxGuest, TapNic, UserNic

QEMU_HOST = "10.0.2.2"
QEMU_DNS = "10.0.2.3"
"""What QEMU's user-mode network has. https://www.qemu.org/docs/master/system/devices/net.html"""


def network_config(nic: TapNic | UserNic) -> dict[str, object]:
    """Return the one card's settings (version 2): its fixed address, or what QEMU's DHCP gives.

    https://cloudinit.readthedocs.io/en/latest/reference/network-config-format-v2.html
    """
    addressing: dict[str, object] = {"dhcp4": True}
    if isinstance(nic, TapNic):
        servers = {"addresses": list(nic.dns), "search": list(nic.search)}
        addressing = {
            "dhcp4": False,
            "addresses": [f"{nic.address}/{nic.prefix}"],
            **({"routes": [{"to": "0.0.0.0/0", "via": nic.gateway}]} if nic.gateway else {}),
            **({"nameservers": servers} if nic.dns or nic.search else {}),
        }
    card = {"match": {"macaddress": nic.mac.lower()}, **addressing, "dhcp6": False, "accept-ra": False}
    return {"version": 2, "ethernets": {"nic0": card}}


def hosts(vms: Sequence[JobVm]) -> str:
    """Return lines of /etc/hosts: every guest of the job that can be reached."""
    return "".join(f"{vm.address} {vm.hostname}\n" for vm in vms if vm.address is not None)


def own_hosts(guest: LinuxGuest) -> str:
    """Return lines of /etc/hosts: the host, by the node's name; and the guest where nobody reaches it by address."""
    nic = guest.machine.nic
    if isinstance(nic, UserNic):
        return f"127.0.1.1 {guest.hostname}\n{QEMU_HOST} {guest.node}\n"
    return f"{nic.host_address} {guest.node}\n"


def services(nic: TapNic | UserNic) -> tuple[str, str, str]:
    """Return the arguments of network.sh: name servers, domains to look names up in, time servers."""
    if isinstance(nic, UserNic):
        return ("" if nic.restricted else QEMU_DNS, "", "")
    return " ".join(nic.dns), " ".join(nic.search), " ".join(nic.ntp)
