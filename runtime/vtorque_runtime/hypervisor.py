"""The only module that imports libvirt.

libvirt's own words reach a person only through a Fault; its habit of printing them to standard error is switched off.
"""

import importlib
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from vtorque_spec.fault import Fault

URIS = {"system": "qemu:///system", "session": "qemu:///session"}
"""Which daemon each lane uses."""

RESTART_LIMIT_S = 60.0
"""How long a daemon may be away while guests of it are watched."""


def connect(uri: str) -> "Hypervisor":
    """Return a connection to the daemon at `uri`; raises Fault VT0902 when it does not answer."""
    libvirt = _libvirt()
    try:
        return Hypervisor(libvirt.open(uri), uri)
    except libvirt.libvirtError as error:
        raise Fault(
            "VT0902", f"libvirt does not answer at {uri}", help=_HELP.get(uri), detail=error.get_error_message()
        ) from None


class Hypervisor:
    """One libvirt connection. Every method raises Fault VT0903 with libvirt's words, VT0902 once the daemon is gone."""

    def __init__(self, connection: Any, uri: str) -> None:
        self._libvirt = _libvirt()
        self._connection = connection
        self._away_since: float | None = None
        self.uri = uri

    def versions(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Return those of libvirt's daemon and of QEMU."""
        return _version(self._call("getLibVersion")), _version(self._call("getVersion"))

    def create_filter(self, xml: str) -> None:
        """Define a network filter, which exists until it is destroyed; raises Fault VT0905 where libvirt has none."""
        try:
            self._connection.nwfilterDefineXMLFlags(xml, self._libvirt.VIR_NWFILTER_DEFINE_VALIDATE)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != self._libvirt.VIR_ERR_NO_SUPPORT:
                raise self._fault(error) from None
            hint = "install libvirt's nwfilter driver, iptables and ebtables; or, in site.yaml: `unfiltered: true`"
            message = "libvirt cannot keep guests from sending in another's name here"
            raise Fault("VT0905", message, help=hint, detail=error.get_error_message()) from None

    def create_network(self, xml: str) -> None:
        """Start a network that exists until it is destroyed or the host goes down."""
        if self.uri == URIS["system"]:
            # libvirt 9.0 writes here for every network, but makes the directory for those with DNS or DHCP only
            Path("/var/lib/libvirt/dnsmasq").mkdir(parents=True, exist_ok=True)
        self._call("networkCreateXMLFlags", xml, self._libvirt.VIR_NETWORK_CREATE_VALIDATE)

    def create_domain(self, xml: str) -> None:
        """Start a domain that exists until it ends; the XML is checked against libvirt's schema first."""
        self._call("createXML", xml, self._libvirt.VIR_DOMAIN_START_VALIDATE)

    def try_domain(self, xml: str) -> str | None:
        """Start a domain without running its CPUs and end it; return None, or libvirt's words when it can't start.

        The domain ends with this connection, should this process die meanwhile.
        """
        flags = self._libvirt.VIR_DOMAIN_START_PAUSED | self._libvirt.VIR_DOMAIN_START_AUTODESTROY
        try:
            self._connection.createXML(xml, flags).destroy()
        except self._libvirt.libvirtError as error:
            return str(error.get_error_message())
        return None

    def domain_state(self, uuid: str) -> str | None:
        """Return `running`, `paused` or another word of `virsh domstate`; None when there is no such domain.

        Guests run on while their daemon is restarted (an update does that), and count as running for that long.
        """
        try:
            return self._domain_state(uuid)
        except Fault as fault:
            if fault.code == "VT0902" and self._is_restarted():
                return "running"
            raise

    def _is_restarted(self) -> bool:
        """Connect anew, or tell whether the daemon may still come back."""
        now = time.monotonic()
        try:
            self._connection, self._away_since = self._libvirt.open(self.uri), None
        except self._libvirt.libvirtError:
            self._away_since = self._away_since or now
        return self._away_since is None or now - self._away_since < RESTART_LIMIT_S

    def _domain_state(self, uuid: str) -> str | None:
        libvirt = self._libvirt
        domain = self._look_up("lookupByUUIDString", uuid, libvirt.VIR_ERR_NO_DOMAIN)
        if domain is None:
            return None
        try:
            state = domain.state()[0]
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise self._fault(error) from None
        running = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED)
        others = {libvirt.VIR_DOMAIN_PAUSED: "paused", libvirt.VIR_DOMAIN_CRASHED: "crashed"}
        return "running" if state in running else others.get(state, "shut off")

    def pin_emulator(self, uuid: str, cpus: Collection[int]) -> None:
        """Let the running domain's own threads of QEMU, and vhost's, run on `cpus` alone."""
        self._on_domain(uuid, "pinEmulator", _map(cpus), self._libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def pin_iothread(self, uuid: str, iothread: int, cpus: Collection[int]) -> None:
        """Let the running domain's I/O thread, numbered from 1, run on `cpus` alone."""
        self._on_domain(uuid, "pinIOThread", iothread, _map(cpus), self._libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def suspend(self, uuid: str) -> bool:
        """Stop the domain's CPUs, unless it has ended; False while its daemon is restarted, to be tried again."""
        return self._switch(uuid, "paused", "suspend")

    def resume(self, uuid: str) -> bool:
        """Let the CPUs of a domain that was suspended run again; False as above."""
        return self._switch(uuid, "running", "resume")

    def _switch(self, uuid: str, wanted: str, method: str) -> bool:
        try:
            if self._domain_state(uuid) != wanted:
                self._on_domain(uuid, method)
        except Fault as fault:
            if fault.code == "VT0902" and self._is_restarted():
                return False
            if fault.code != "VT0903" or self._domain_state(uuid) is not None:
                raise
        return True

    def ask_agent(self, uuid: str, request: str, limit_s: int) -> str | None:
        """Return what the guest agent answers to a request; None where no agent or no domain does.

        Both are JSON: https://qemu-project.gitlab.io/qemu/interop/qemu-ga-ref.html
        """
        agent = _module("libvirt_qemu")
        try:
            domain = self._connection.lookupByUUIDString(uuid)
            return str(agent.qemuAgentCommand(domain, request, limit_s, 0))
        except self._libvirt.libvirtError:
            if not self._connection.isAlive():
                raise Fault("VT0902", f"libvirt went away at {self.uri}", help=_HELP.get(self.uri)) from None
            return None

    def press_power_button(self, uuid: str) -> None:
        """Ask the running domain to end in its own order, by ACPI; nothing happens when it has ended."""
        libvirt = self._libvirt
        domain = self._look_up("lookupByUUIDString", uuid, libvirt.VIR_ERR_NO_DOMAIN)
        gone = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
        try:
            if domain is not None:
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in gone:
                raise self._fault(error) from None

    def destroy_domain(self, uuid: str) -> None:
        """End the domain at once; nothing happens when there is none."""
        self._destroy("lookupByUUIDString", uuid, self._libvirt.VIR_ERR_NO_DOMAIN)

    def destroy_network(self, uuid: str) -> None:
        """End the network; nothing happens when there is none."""
        self._destroy("networkLookupByUUIDString", uuid, self._libvirt.VIR_ERR_NO_NETWORK)

    def destroy_filter(self, uuid: str) -> None:
        """Remove the network filter, which no guest uses any more; nothing happens when there is none."""
        found = self._look_up("nwfilterLookupByUUIDString", uuid, self._libvirt.VIR_ERR_NO_NWFILTER)
        try:
            if found is not None:
                found.undefine()
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != self._libvirt.VIR_ERR_NO_NWFILTER:
                raise self._fault(error) from None

    def domain_uuids(self) -> set[str]:
        """Return the UUIDs of all domains, running or not."""
        return {domain.UUIDString() for domain in self._call("listAllDomains")}

    def network_uuids(self) -> set[str]:
        """Return the UUIDs of all networks, active or not."""
        return {network.UUIDString() for network in self._call("listAllNetworks")}

    def filter_uuids(self) -> set[str]:
        """Return the UUIDs of all network filters."""
        return {found.UUIDString() for found in self._call("listAllNWFilters")}

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _on_domain(self, uuid: str, method: str, *arguments: Any) -> None:
        try:
            getattr(self._connection.lookupByUUIDString(uuid), method)(*arguments)
        except self._libvirt.libvirtError as error:
            raise self._fault(error) from None

    def _destroy(self, look_up: str, uuid: str, absent: int) -> None:
        thing = self._look_up(look_up, uuid, absent)
        gone = (absent, self._libvirt.VIR_ERR_OPERATION_INVALID)  # it ended by itself in between
        try:
            if thing is not None:
                thing.destroy()
        except self._libvirt.libvirtError as error:
            if error.get_error_code() not in gone:
                raise self._fault(error) from None

    def _look_up(self, method: str, uuid: str, absent: int) -> Any:
        try:
            return getattr(self._connection, method)(uuid)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() == absent:
                return None
            raise self._fault(error) from None

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._connection, method)(*arguments)
        except self._libvirt.libvirtError as error:
            raise self._fault(error) from None

    def _fault(self, error: Any) -> Fault:
        words = error.get_error_message()
        if not self._connection.isAlive():
            return Fault("VT0902", f"libvirt went away at {self.uri}", help=_HELP.get(self.uri), detail=words)
        return Fault("VT0903", "libvirt refused", detail=words)


def _version(number: int) -> tuple[int, int, int]:
    """Libvirt has a version as one number: 9000000 is 9.0.0."""
    return number // 1_000_000, number // 1000 % 1000, number % 1000


def _map(cpus: Collection[int]) -> tuple[bool, ...]:
    """Libvirt's set of CPUs: whether each, from 0, is in it."""
    return tuple(cpu in cpus for cpu in range(max(cpus) + 1))


_HELP = {
    "qemu:///system": "start it: systemctl start libvirtd; without systemd: virtlogd -d && libvirtd -d",
    "qemu:///session": "the session daemon starts by itself: install libvirt-daemon, set a writable XDG_RUNTIME_DIR",
}


def _libvirt() -> Any:
    libvirt = _module("libvirt")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt


def _module(name: str) -> Any:
    """Both are of one package."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Fault(
            "VT0905", f"Python has no {name} module here", help="pip install 'vtorque[runtime]'", detail=str(error)
        ) from None
