"""Pure functions from a plan to the files that a batch system, cloud-init and libvirt read."""
