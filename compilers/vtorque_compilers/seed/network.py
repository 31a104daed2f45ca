"""The guest's part of its network: the card, the names of the job's guests, name servers and time servers."""

from vtorque_spec.plan import LinuxGuest, TapNic, UserNic

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


def hosts(guest: LinuxGuest) -> str:
    """Return lines of /etc/hosts: every guest of the job that can be reached, and the host, by the node's name."""
    nic = guest.machine.nic
    lines = [f"{vm.address} {vm.hostname}" for vm in guest.vms if vm.address is not None]
    if isinstance(nic, UserNic):
        lines.append(f"127.0.1.1 {guest.hostname}")
    lines.append(f"{nic.host_address if isinstance(nic, TapNic) else QEMU_HOST} {guest.node}")
    return "".join(f"{line}\n" for line in lines)


def services(nic: TapNic | UserNic) -> tuple[str, str, str]:
    """Return the arguments of network.sh: name servers, domains to look names up in, time servers."""
    if isinstance(nic, UserNic):
        return ("" if nic.restricted else QEMU_DNS, "", "")
    return " ".join(nic.dns), " ".join(nic.search), " ".join(nic.ntp)
