"""Batch systems: which job a hook was called for, what it was given, where its spec is. `contract` says the interface.

A hook runs for every job of the node, so what an ordinary job has to wait for (this module, `command`, and as much of
an adapter as is loaded at once) imports almost nothing.
"""

import importlib

from vtorque_spec.fault import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import cast

    from vtorque_runtime.batch.contract import Adapter

NODES_LIMIT = 4096
"""Of one job."""

_KEY_LIMIT = 48
_NAME_LIMIT = 255


def adapter(system: str) -> "Adapter":
    """Return the adapter of that name. Raises Fault VT0930 for one that is none."""
    if system not in ("torque", "openpbs", "slurm", "local"):
        raise Fault("VT0930", f"no batch system is called {system!r}", help="say torque, openpbs, slurm or local")
    module = importlib.import_module(f"vtorque_runtime.batch.{system}")
    return cast("Adapter", module) if TYPE_CHECKING else module


def job_key(job_id: str, node: str) -> str:
    """Return how a job is called on a node: a name that no other live job has, even where one host is several nodes.

    Job ids end with the server's name, which a node knows once; what is too long for a socket's path is shortened.
    Raises Fault VT0912.
    """
    for name in (job_id, node):
        if not is_name(name, "._-[]"):
            raise Fault("VT0912", f"not the name of a job or a node: {name!r}")
    key = f"{job_id.partition('.')[0]}.{node.partition('.')[0]}"
    if len(key) <= _KEY_LIMIT:
        return key
    import hashlib

    return f"{key[: _KEY_LIMIT - 13]}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def is_name(text: str, others: str = "._-") -> bool:
    """Tell whether a text is a letter or digit of ASCII, then letters, digits and `others`, 255 at most."""
    plain = text.isascii() and text[:1].isalnum() and len(text) <= _NAME_LIMIT
    return plain and all(sign.isalnum() or sign in others for sign in text)


def same_host(one: str, other: str) -> bool:
    """Tell whether two names mean one host, be it with its domain or without."""
    return one.partition(".")[0] == other.partition(".")[0]


def unusable(why: str) -> Fault:
    """Return the fault for a batch system's answer that cannot be used."""
    return Fault("VT0931", f"the batch system's record of the job cannot be used: {why[:200]}")
