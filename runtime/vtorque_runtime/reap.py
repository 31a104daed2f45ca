"""Give back what jobs left whose process died: a kill -9, a crash, a reboot of the host."""

from vtorque_runtime import epilogue
from vtorque_runtime.hypervisor import connect as connect_libvirt
from vtorque_runtime.spool import Registry, Spool, alive
from vtorque_runtime.steps import Connect
from vtorque_spec.fault import Fault


def reap(registry: Registry, connect: Connect = connect_libvirt) -> tuple[list[str], list[Fault]]:
    """Undo every job that is not alive; return one sentence for each job, and what could not be undone (VT0911)."""
    done, faults = [], []
    for held in registry.registrations():
        if alive(held):
            done.append(f"{held.job_id}: alive, process {held.pid}; not touched")
            continue
        try:
            epilogue.apply(registry, Spool(registry.jobs / held.job_id), connect)
            done.append(f"{held.job_id}: its process {held.pid} is gone; undone")
        except Fault as fault:
            faults.append(fault)
    done += [f"{name}: never registered; removed" for name in registry.remove_unfinished()]
    return done, faults
