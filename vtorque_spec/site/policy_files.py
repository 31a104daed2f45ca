"""The files of a policy: its layers, and what they refer to. What stands in them is judged by vtorque_spec.policy."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from posixpath import normpath
from typing import Any

from vtorque_spec import data
from vtorque_spec.canonical import digest
from vtorque_spec.diagnostics import Code, Report, near_miss
from vtorque_spec.document import Document, Path, read

BASE_URI = "urn:vtorque:policy:base"
CLOSED_URI = "urn:vtorque:policy:closed"
"""Members that are off unless the site's own policy names them."""

ROOT_URI = "file:///"
"""What stands for the site's directory in URIs, so that `$ref: rules/gpu.yaml` leads to a file of the site."""

_SHIPPED = {BASE_URI: "base-policy.yaml", CLOSED_URI: "closed-policy.yaml"}


@dataclass(frozen=True, slots=True, eq=False)
class PolicyFiles:
    """A policy's files by URI; `layers` are the URIs of those that apply, in order: a later one can only narrow."""

    layers: tuple[str, ...]
    files: Mapping[str, Document]
    digest: str

    def documents(self) -> tuple[Document, ...]:
        """Return the layers."""
        return tuple(self.files[uri] for uri in self.layers)

    def target(self, base: str, reference: str) -> tuple[str, Path] | None:
        """Return the file and the place that a `$ref` in the file `base` leads to; None where there is nothing."""
        uri, fragment = _absolute(base, reference)
        if uri not in self.files or (fragment and not fragment.startswith("/")):
            return None
        from urllib.parse import unquote

        found: Any = self.files[uri].data
        path: Path = ()
        for part in fragment.split("/")[1:]:
            name: str | int = unquote(part).replace("~1", "/").replace("~0", "~")
            name = int(name) if isinstance(found, list) and re.fullmatch("[0-9]{1,6}", str(name)) else name
            try:
                found, path = found[name], (*path, name)
            except (KeyError, IndexError, TypeError):
                return None
        return uri, path


def _absolute(base: str, reference: str) -> tuple[str, str]:
    """Return the URI of the file and the fragment. A URN has no directory: only a fragment is relative to it.

    A file has one URI, however its name is written (`%2e/a.yaml`), or it would be read again and again.
    """
    from urllib.parse import quote, unquote, urldefrag, urljoin  # a policy without references does not pay for it

    try:
        if not base.startswith(ROOT_URI):
            return urldefrag(base + reference if reference.startswith("#") else reference)
        uri, fragment = urldefrag(urljoin(base, reference))
    except ValueError:  # such as http://[x
        return reference, ""
    if uri.startswith(ROOT_URI):
        uri = ROOT_URI + quote(normpath(unquote(uri.removeprefix(ROOT_URI))))
    return uri, fragment


def read_policy(root: FilePath, name: FilePath, shown: FilePath, report: Report) -> PolicyFiles:
    """Read the shipped policies, the file `name` of a site's directory where it has one, and what they refer to.

    A `name` that is there and cannot be read, such as a broken link, is a finding: else no rule would hold.

    `shown` is how findings call the directory. A reference that leads nowhere is a finding.
    """
    reader = _Reader(root, shown, report)
    layers = [uri for uri, file in _SHIPPED.items() if reader.add(uri, data.schemas() / file, f"schemas/{file}")]
    uri, _ = _absolute(ROOT_URI, name.as_posix())
    if os.path.lexists(root / name) and reader.add(uri, root / name, str(shown / name)):
        layers.append(uri)
        if _members(reader.files[CLOSED_URI]) <= _members(reader.files[uri]):
            layers.remove(CLOSED_URI)
    contents = [_without_fractions(reader.files[uri].data) for uri in layers]
    others = {uri: _without_fractions(file.data) for uri, file in sorted(reader.files.items()) if uri not in layers}
    return PolicyFiles(tuple(layers), reader.files, digest("policy", 1, [*contents, *([others] if others else [])]))


def _members(policy: Document) -> set[str]:
    """Return the members of the job that a policy names for all jobs."""
    said = policy.data.get("properties") if isinstance(policy.data, dict) else None
    return set(said) if isinstance(said, dict) else set()


class _Reader:
    """Reads files and follows their references."""

    def __init__(self, root: FilePath, shown: FilePath, report: Report) -> None:
        self.root, self.shown, self.report = root, shown, report
        self.files: dict[str, Document] = {}

    def add(self, uri: str, path: FilePath, name: str) -> bool:
        """Read a file and all that it refers to; return whether the file itself can be read."""
        waiting = [(uri, path, name)]
        while waiting:
            found, path, name = waiting.pop()
            document = None if found in self.files else read(path, self.report, name)
            if document is not None:
                self.files[found] = document
                for place, reference in references(document.data):
                    waiting += self._follow(found, document, place, reference)
        return uri in self.files

    def _follow(
        self, base: str, document: Document, place: Path, reference: str
    ) -> Iterator[tuple[str, FilePath, str]]:
        """Yield the file that a reference leads to, if it is to be read."""
        from urllib.parse import unquote

        uri, _ = _absolute(base, reference)
        if uri in self.files:
            return
        relative = unquote(uri.removeprefix(ROOT_URI))
        path = self.root / relative
        if not uri.startswith(ROOT_URI) or not os.path.isfile(path):  # unlike Path.is_file, also for a name too long
            self._nowhere(document, place, reference)
        elif not path.resolve().is_relative_to(self.root.resolve()):
            message = f"`{reference}` leads out of the site's directory"
            self.report.add(Code.POLICY_SCHEMA, message, document.span(place), help="keep the policy's files inside it")
        else:
            yield uri, path, str(self.shown / relative)

    def _nowhere(self, document: Document, place: Path, reference: str) -> None:
        found = sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*.yaml"))
        meant = near_miss(reference.partition("#")[0], found)
        hint = f"write `{meant}`" if meant else f"name a file of the site's directory, or {BASE_URI}"
        message = f"there is no file `{reference}` in the site's directory"
        self.report.add(Code.POLICY_SCHEMA, message, document.span(place), help=hint)


def references(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield each `$ref` with its place. (`const`, `enum` and `default` hold values, not schemas.)"""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from references(item, (*path, index))
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield (*path, key), item
            elif key not in ("const", "enum", "default", "examples"):
                yield from references(item, (*path, key))


def _without_fractions(value: Any) -> Any:
    """Digests are over integers and text only; a policy may hold fractions."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {key: _without_fractions(member) for key, member in value.items()}
    return [_without_fractions(item) for item in value] if isinstance(value, list) else value
