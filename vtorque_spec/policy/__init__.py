"""The site's rules: JSON Schema layers over the job's normal form.

`vocabulary` lists the words, `rules` sees all files as one tree, `check` tells whether they are a policy at all,
`defaults` fills what a job leaves open, `limits` evaluates the result. Layers are conjoined: a later one only narrows;
the last default wins.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from vtorque_spec.diagnostics import Span
from vtorque_spec.document import Document, Path
from vtorque_spec.policy.rules import rules
from vtorque_spec.site.policy_files import CLOSED_URI, PolicyFiles
from vtorque_spec.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Context:
    """What rules may ask for besides the job: who runs it, and where. A job file can't set it. None: not known.

    `host` is the host on which the job is submitted.
    """

    user: str
    groups: tuple[str, ...]
    queue: str | None
    batch: str
    site: str
    host: str | None = None

    def known(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return the members that are known as rules see them; the queue is the job's unless somebody else said it."""
        said = {**asdict(self), "groups": list(self.groups)}
        said["queue"] = self.queue or job.get("batch", {}).get("queue")
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Origin:
    """The policy line that set a default."""

    layer: Document
    path: Path

    @property
    def span(self) -> Span:
        """Where the `default` keyword's value stands."""
        return self.layer.span((*self.path, "default"))


@dataclass(frozen=True, slots=True)
class Effective:
    """A job with every default filled: the model, its normal form, and which values came from which policy line."""

    spec: JobSpec
    data: dict[str, Any]
    origins: Mapping[Path, Origin] = field(default_factory=dict)

    def origin(self, path: Path) -> Origin | None:
        """Return the default that set the value at `path` or one of its ancestors."""
        return origin_of(self.origins, path)


def origin_of(origins: Mapping[Path, Origin], path: Path) -> Origin | None:
    """Return the default of `path` or of its nearest ancestor that has one."""
    while path and path not in origins:
        path = path[:-1]
    return origins.get(path)


def have_limits(policy: PolicyFiles, job: Mapping[str, Any]) -> bool:
    """Whether there is anything to evaluate for a job: nothing but defaults needs no JSON Schema validator.

    What the site has not opened is judged where the job asks for it.
    """
    closed = policy.files[CLOSED_URI].data["properties"] if CLOSED_URI in policy.layers else ()
    return _has_rules(policy) or any(job.get(name) for name in closed)


@lru_cache(maxsize=8)
def _has_rules(policy: PolicyFiles) -> bool:
    return any(rule.place.uri != CLOSED_URI for rule in rules(policy))
