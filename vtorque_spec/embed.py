"""Files that a job names: read here, at compile time, by the user; what they hold travels with the job."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.document import SCALAR_LIMIT_BYTES, Document, read
from vtorque_spec.document import Path as DataPath
from vtorque_spec.plan import VERSION, Script, UserPart, Variable
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.base import Model
from vtorque_spec.spec.machine import OWN_FILES, CpuMap
from vtorque_spec.spec.parse import NormalForm, parse_as
from vtorque_spec.spec.user import Hook

_DIRECTIVE = re.compile(r"^[ \t]*#(PBS|SBATCH)\b.*")


def user_part(spec: JobSpec, document: Document, directory: Path, report: Report) -> UserPart | None:
    """Return what runs as the user; paths are relative to `directory`. None when there is an error."""
    embed = _Embed(document, directory, report)
    hooks = spec.hooks
    run = embed.run(spec)
    prologue = embed.hook(hooks.prologue, "prologue") if hooks and hooks.prologue else None
    epilogue = embed.hook(hooks.epilogue, "epilogue") if hooks and hooks.epilogue else None
    env = tuple(
        Variable(name, value.value, str(directory.absolute() / value.from_file) if value.from_file else None)
        for name, value in sorted((spec.env or {}).items() if run is not None else ())
    )
    if embed.failed:
        return None
    return UserPart(VERSION, run, prologue, epilogue, env)


class MapFile(Model):
    """A file that holds a pinning map: YAML with the one member `map`."""

    map: Annotated[CpuMap, Field(min_length=1)]


def embed_map(normal: NormalForm, directory: Path, report: Report) -> NormalForm | None:
    """Return the normal form with the map of a `pinning: {file: ...}` in its place; None when it can't be read.

    The entries' places are those in that file.
    """
    said = normal.data.get("pinning", {}).get("file")
    if said is None:
        return normal
    file = directory / said
    try:
        why = None if file.is_file() else "is not a regular file" if file.exists() else "is not there"
    except OSError as error:
        why = f"cannot be looked at: {(error.strerror or str(error)).lower()}"
    if why is not None:
        hint = "write the map into a file beside the job file, as in `map: [4, 5, 6, 7]`"
        report.add(Code.SCRIPT_FILE, f"`{said}` {why}", normal.at(("pinning", "file")), help=hint)
        return None
    document = read(file, report)
    found = parse_as(MapFile, document, report) if document else None
    if document is None or found is None:
        return None
    spans = {("pinning", *path): span for path, span in document.values.items() if path}
    pinning = {"mode": "map", "map": list(found.map)}
    return NormalForm({**normal.data, "pinning": pinning}, {**normal.spans, **spans})


def with_own_image(normal: NormalForm, directory: Path) -> NormalForm:
    """Return the normal form with the absolute paths of one's own image: they are opened where the job runs."""
    image = normal.data["image"]
    files = {name: os.path.normpath(directory.absolute() / image[name]) for name in OWN_FILES if name in image}
    return NormalForm({**normal.data, "image": {**image, **files}}, normal.spans) if files else normal


class _Embed:
    def __init__(self, document: Document, directory: Path, report: Report) -> None:
        self.document, self.directory, self.report = document, directory, report
        self.failed = False

    def run(self, spec: JobSpec) -> Script | None:
        if spec.run.text is not None:
            at: DataPath = ("run", "text") if ("run", "text") in self.document.values else ("run",)
            self._warn_of_directives(spec.run.text, at)
            return Script(spec.run.text, ())
        if spec.run.script is None:
            return None  # an OSv command, which travels in the machine part
        text = self._read(spec.run.script, ("run", "script"))
        return None if text is None else Script(text, spec.run.args or ())

    def hook(self, hook: Hook, name: str) -> Script | None:
        text = hook.inline if hook.inline is not None else self._read(hook.path or "", ("hooks", name, "path"))
        return None if text is None else Script(text, ())

    def _read(self, said: str, path: DataPath) -> str | None:
        file = self.directory / said
        try:
            if file.exists() and not file.is_file():  # a pipe would be waited for
                return self._refuse(f"`{said}` is not a regular file", path)
            with file.open("rb") as stream:
                raw = stream.read(SCALAR_LIMIT_BYTES + 1)
            if len(raw) > SCALAR_LIMIT_BYTES:
                return self._refuse(f"`{said}` has more than {SCALAR_LIMIT_BYTES // 1024} KiB", path)
            text = raw.decode("utf-8")
        except OSError as error:
            return self._refuse(f"`{said}`: {(error.strerror or str(error)).lower()}", path)
        except UnicodeDecodeError:
            return self._refuse(f"`{said}` is not UTF-8 text", path)
        if "\0" in text or not text.strip():
            return self._refuse(f"`{said}` {'holds a NUL byte' if text.strip() else 'is empty'}", path)
        return text

    def _refuse(self, message: str, path: DataPath) -> str | None:
        self.failed = True
        hint = "scripts and hooks are text files beside the job file; they are embedded when the job is compiled"
        self.report.add(Code.SCRIPT_FILE, message, self.document.span(path), help=hint)
        return None

    def _warn_of_directives(self, text: str, path: DataPath) -> None:
        for number, line in enumerate(text.split("\n")):
            match = _DIRECTIVE.match(line)
            if match:
                start = match.start(1) - 1
                span = self.document.text_span(path, number, start, match.end() - start)
                message = f"the batch system does not read `#{match[1]}` lines of the job's text"
                self.report.add(Code.DIRECTIVE_IN_RUN, message, span, help="say it under `batch:`")
