"""Fill what a job leaves open from the policy's `default` keywords, remembering which line set what.

First those that hold always, layer by layer, the last one winning; then those of the `then` and `else` branches that
apply to the result, again and again until nothing new is set: a branch may set the queue that another one asks for.
What a branch has set stays. An object's inner defaults apply only where the object is, and is not switched off.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from vtorque_spec.diagnostics import Code, Note, Report
from vtorque_spec.document import Path
from vtorque_spec.policy import Effective, Origin, origin_of
from vtorque_spec.policy.rules import walk
from vtorque_spec.site.policy_files import PolicyFiles
from vtorque_spec.spec.parse import NormalForm, label, parse_normal, reason


@dataclass(frozen=True, slots=True)
class _Schema:
    uri: str
    path: Path
    data: Any


Holds = Callable[[str, Path, Path, Any], bool | None]
"""(file, place of the `if`, path in the job, value there) -> whether it fits; None: it asks for what is not known."""


@lru_cache(maxsize=8)
def has_conditional_defaults(policy: PolicyFiles) -> bool:
    """Whether a branch of the policy sets a default."""
    return any(
        place.conditions and isinstance(place.schema, dict) and "default" in place.schema for place in walk(policy)
    )


def fill_defaults(
    normal: NormalForm, policy: PolicyFiles, holds_for: Callable[[Effective], Holds], report: Report
) -> Effective | None:
    """Return the job with the policy's defaults; None, and findings in the policy, when one is no value for a job."""
    filler = _Filler(policy, copy.deepcopy(normal.data), report)
    layers = [filler.layer(uri) for uri in policy.layers]
    filler.fill(layers, filler.data, ())
    effective = filler.effective()
    if effective is not None and filler.opened(layers, effective):
        filler.data = copy.deepcopy(effective.data)
        filler.fill(layers, filler.data, ())
        effective = filler.effective()
    while effective is not None and has_conditional_defaults(policy):
        filler.data, before = copy.deepcopy(effective.data), set(filler.by_branch)
        filler.fill_branches(holds_for(effective))
        effective = None if report.failed else filler.effective()
        if set(filler.by_branch) == before:
            break
    return effective


class _Filler:
    """One job's data, and where its defaults come from."""

    def __init__(self, policy: PolicyFiles, data: dict[str, Any], report: Report) -> None:
        self.policy, self.data, self.report = policy, data, report
        self.origins: dict[Path, Origin] = {}
        self.by_branch: dict[Path, _Schema] = {}

    def layer(self, uri: str) -> _Schema:
        return _Schema(uri, (), self.policy.files[uri].data)

    def effective(self) -> Effective | None:
        try:
            spec = parse_normal(self.data)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                origin = origin_of(self.origins, tuple(item["loc"]))
                span = origin.span if origin else None
                message = f"the default of `{label(tuple(item['loc']))}`: {reason(item)}"
                self.report.add(Code.POLICY_DEFAULT, message, span)
            return None
        return Effective(spec, spec.model_dump(mode="json", exclude_unset=True), self.origins)

    def opened(self, schemas: list[_Schema], effective: Effective) -> bool:
        """Whether a default in its short form, as in `iocm: true`, is a mapping now that has inner defaults."""
        members = {name: inner for one in schemas for name, inner in members_of(one.data).items() if members_of(inner)}
        short = (name for name in members if not isinstance(self.data.get(name), dict))
        return any(isinstance(effective.data.get(name), dict) for name in short)

    def fill(self, schemas: list[_Schema], data: dict[str, Any], path: Path, *, branch: bool = False) -> None:
        """Set the defaults that hold always in `schemas`, which are all about the mapping `data` at `path`."""
        schemas = [one for schema in schemas for one in self.same_value(schema)]
        for name in dict.fromkeys(name for schema in schemas for name in members_of(schema.data)):
            inner = [
                _Schema(one.uri, (*one.path, "properties", name), members_of(one.data)[name])
                for one in schemas
                if name in members_of(one.data)
            ]
            all_of_it = [one for schema in inner for one in self.same_value(schema)]
            found = [one for one in all_of_it if isinstance(one.data, dict) and "default" in one.data]
            if found:
                self.set(data, name, path, found, branch=branch)
            if isinstance(data.get(name), dict) and data[name].get("enabled") is not False:
                self.fill(inner, data[name], (*path, name), branch=branch)

    def set(self, data: dict[str, Any], name: str, path: Path, found: list[_Schema], *, branch: bool) -> None:
        here = (*path, name)
        if branch:
            self.disagreement(here, [*([self.by_branch[here]] if here in self.by_branch else []), *found])
        if name in data and not (branch and here in self.origins and here not in self.by_branch):
            return
        last = found[-1]
        data[name] = copy.deepcopy(last.data["default"])
        self.origins = {at: origin for at, origin in self.origins.items() if at[: len(here)] != here}
        self.origins[here] = Origin(self.policy.files[last.uri], last.path)
        if branch:
            self.by_branch = {at: one for at, one in self.by_branch.items() if at[: len(here)] != here} | {here: last}

    def disagreement(self, path: Path, found: list[_Schema]) -> None:
        first = found[0]
        for other in found[1:]:
            if other.data["default"] != first.data["default"]:
                message = f"two branches that apply to this job set different defaults of `{label(path)}`"
                span = self.policy.files[other.uri].span((*other.path, "default"))
                note = Note("the other one is here", self.policy.files[first.uri].span((*first.path, "default")))
                hint = "let their conditions exclude each other"
                self.report.add(Code.DEFAULTS_DISAGREE, message, span, notes=[note], help=hint)

    def fill_branches(self, holds: Holds) -> None:
        """Set the defaults of every branch that applies to the job as it is now."""
        by_path: dict[Path, list[_Schema]] = {}
        for uri in self.policy.layers:
            for path, branch in self.branches(self.layer(uri), (), self.data, holds):
                by_path.setdefault(path, []).append(branch)
        for path, schemas in by_path.items():
            data: Any = self.data
            for part in path:
                data = data[part]
            self.fill(schemas, data, path, branch=True)

    def branches(
        self, schema: _Schema, path: Path, data: dict[str, Any], holds: Holds
    ) -> Iterator[tuple[Path, _Schema]]:
        for one in self.same_value(schema):
            if isinstance(one.data, dict) and "if" in one.data:
                fits = holds(one.uri, (*one.path, "if"), path, data)
                word = {True: "then", False: "else"}.get(fits) if fits is not None else None
                if word in one.data:
                    branch = _Schema(one.uri, (*one.path, str(word)), one.data[word])
                    yield path, branch
                    yield from self.branches(branch, path, data, holds)
            for name, inner in members_of(one.data).items():
                if isinstance(data.get(name), dict):
                    below = _Schema(one.uri, (*one.path, "properties", name), inner)
                    yield from self.branches(below, (*path, name), data[name], holds)

    def same_value(self, schema: _Schema, seen: frozenset[tuple[str, Path]] = frozenset()) -> Iterator[_Schema]:
        """Yield the schema and those that apply to the same value without condition: `allOf` and `$ref`."""
        yield schema
        if not isinstance(schema.data, dict) or (schema.uri, schema.path) in seen:
            return
        seen |= {(schema.uri, schema.path)}
        for index, part in enumerate(schema.data.get("allOf", ())):
            yield from self.same_value(_Schema(schema.uri, (*schema.path, "allOf", index), part), seen)
        target = self.policy.target(schema.uri, schema.data["$ref"]) if "$ref" in schema.data else None
        if target is not None:
            found: Any = self.policy.files[target[0]].data
            for part in target[1]:
                found = found[part]
            yield from self.same_value(_Schema(target[0], target[1], found), seen)


def members_of(schema: object) -> dict[str, Any]:
    """Return the schemas of an object's members; none where the schema has no `properties`."""
    found = schema.get("properties") if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}
