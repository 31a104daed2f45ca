"""What can be mended without asking, and what the words of the old vTorque are called now.

Safe is what has one meaning only. Not safe: `24gb` and `24G` (powers of 1000 or of 1024?), `0` and `1` for a boolean
(old vTorque read them the other way round), a word with two likely candidates, a number that would change.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

from vtorque_spec.document import INTEGER_LIMIT
from vtorque_spec.spec.batch import Batch

RENAMED: Mapping[str, str] = {
    "img": "image",
    "ram": "memory",
    "mem": "memory",
    "cpus": "vcpus",
    "ncpus": "vcpus",
    "vcpu_pinning": "pinning",
    "unclot_shmem": "shared_memory",
}
"""Keys at the top level that were or are elsewhere called otherwise, and only that: the value means the same."""

ELSEWHERE: Mapping[str, str] = {
    **{name: f"write `batch: {{{name}: ...}}`" for name in Batch.model_fields},
    "arch": "remove it: it follows from the image",
    "disk": "write `disks: [{name: scratch, size: 50GiB, mount: /data}]`",
    "distro": "remove it: it follows from the image",
    "fs_type": "write `root_disk: {backing: shared}`, or `local` or `ram`",
    "iocm_max_cores": "write `iocm: {max_cores: ...}`",
    "iocm_min_cores": "write `iocm: {min_cores: ...}`",
    "script": "write `run: {script: ...}`",
    "unclot": "write `shared_memory: 1GiB`",
    "vm_epilogue": "write `hooks: {epilogue: ...}`",
    "vm_prologue": "write `hooks: {prologue: ...}`",
    "vrdma": "write `network: {rdma: sriov}`, or `vdpa` or `legacy`",
}
"""Keys at the top level that a person has to move or to say otherwise, and how."""

_LIKE, _CLEARLY = 0.8, 0.1
"""How alike (difflib's ratio) a word must be to be a typing mistake, and how much more than the next candidate."""

_FEW = 16
"""In a mapping with more unknown keys nothing is clear."""

_BOOLEANS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}


def key_of(word: str, free: list[str], unknown: set[str], renamed: Mapping[str, str]) -> str | None:
    """Return the key that `word` clearly was meant to be, of those that are `free` in its mapping.

    None where another of the mapping's `unknown` keys may have been meant to be the same.
    """
    if len(unknown) > _FEW:
        return None
    meant = [renamed[key] if renamed.get(key) in free else typo_of(key, free) for key in sorted(unknown)]
    own = meant[sorted(unknown).index(word)]
    return own if own and meant.count(own) == 1 else None


def typo_of(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `word` clearly was meant to be; digits are never mistyped."""
    likeness = sorted(
        ((SequenceMatcher(None, word.lower(), name.lower()).ratio(), name) for name in known), reverse=True
    )
    if not likeness or likeness[0][0] < _LIKE or _digits(word) != _digits(likeness[0][1]):
        return None
    alone = len(likeness) == 1 or likeness[0][0] - likeness[1][0] > _CLEARLY
    return likeness[0][1] if alone else None


def _digits(word: str) -> str:
    return re.sub("[^0-9]", "", word)


def retyped(wanted: str, found: object, written: str) -> str | None:
    """Return how a value of the wrong type is to be written; None if it can't mean what is `wanted`.

    `written` is the value's own text in the file: 1.10 becomes "1.10", not "1.1".
    """
    if wanted == "true or false" and isinstance(found, str):
        return _BOOLEANS.get(found.lower())
    if wanted == "text" and isinstance(found, int | float) and written:
        return f'"{written}"'
    if wanted == "a whole number" and isinstance(found, str) and re.fullmatch("0|[1-9][0-9]{0,14}", found):
        return found
    if wanted == "a whole number" and isinstance(found, float) and found.is_integer() and abs(found) < INTEGER_LIMIT:
        return str(int(found))
    return None
