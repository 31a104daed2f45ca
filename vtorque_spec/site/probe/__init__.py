"""Machines as they describe themselves (sysfs, libvirt, hwloc), and the node class of site.yaml for one."""
