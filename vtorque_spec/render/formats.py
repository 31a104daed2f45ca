"""The formats that a command can print its findings in. Each one's module is imported when it is asked for."""

from collections.abc import Mapping, Sequence

from vtorque_spec.diagnostics import Diagnostic

FORMATS = ("text", "json", "sarif", "junit", "github", "gitlab")
"""`text` is for people (render.text); the others are for programs."""


def write(form: str, items: Sequence[Diagnostic], files: Sequence[str], sources: Mapping[str, list[str]]) -> str:
    """Return the findings in a format of FORMATS other than `text`; it can be written in UTF-8 whatever they say.

    `files` are all that were checked, those without a finding too; `sources` are files' lines by name. Names are as
    the findings have them: from the working directory on, or absolute. Raises ValueError for an unknown format.
    """
    return _format(form, items, files, sources).encode("utf-8", "replace").decode()


def _format(form: str, items: Sequence[Diagnostic], files: Sequence[str], sources: Mapping[str, list[str]]) -> str:
    match form:
        case "json":
            from vtorque_spec.render import as_json

            return as_json.lines(items)
        case "sarif":
            from vtorque_spec.render import as_sarif

            return as_sarif.log(items, sources)
        case "junit":
            from vtorque_spec.render import as_junit

            return as_junit.suite(items, files)
        case "github":
            from vtorque_spec.render import as_github

            return as_github.commands(items)
        case "gitlab":
            from vtorque_spec.render import as_gitlab

            return as_gitlab.report(items, sources)
    raise ValueError(f"`{form}` is not a format of findings")
