"""How qsub reads a script: a recording stand-in for Torque's and OpenPBS's, by the rules that were measured on them."""

from dataclasses import dataclass, field

OPTIONS = {
    "torque": ("aAbcCdDeFijJklLmMNopPqrStTuvwW", "EfhInVxXz"),
    "openpbs": ("aAcCejJklmMNopPqrRSuvW", "fGhIVXz"),
}
"""The options that take a value, and those that take none; qsub refuses any other."""

TORQUE_LINE_BYTES = 32766
OPENPBS_WORDS = 128

RESOURCES = {
    "torque": {"nodes", "mem", "walltime"},
    "openpbs": {"select", "place", "walltime", "vtspec"},
}
"""Those that the compiler may ask for, not all that there are."""


class RefusedError(Exception):
    """Qsub takes no job."""


@dataclass
class Request:
    """What the batch system was asked for."""

    options: dict[str, str] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


def read(flavour: str, script: str) -> Request:
    """Return what `script` asks for on standard input of qsub."""
    if "\r" in script and flavour == "openpbs":
        raise RefusedError("script contains cr, lf")
    request = Request()
    for line in _directive_lines(script):
        if flavour == "torque":
            line = line[:TORQUE_LINE_BYTES]
        words = line.removeprefix("#PBS").split()
        if flavour == "openpbs" and len(words) > OPENPBS_WORDS:
            raise RefusedError("too many words")
        _read_words(flavour, words, request)
    _check_resources(flavour, request)
    return request


def _directive_lines(script: str) -> list[str]:
    """Return the `#PBS` lines before the first line to execute; a backslash at the end goes on in the next line."""
    found: list[str] = []
    lines = iter(script.split("\n"))
    for line in lines:
        stripped = line.lstrip(" \t")
        if stripped.startswith("#PBS"):
            while stripped.endswith("\\"):
                stripped = stripped[:-1] + next(lines, "")
            found.append(stripped)
        elif stripped and not stripped.startswith((":", "#")):
            break
    return found


def _read_words(flavour: str, words: list[str], request: Request) -> None:
    remaining = iter(words)
    for word in remaining:
        if word.startswith("#") and flavour == "torque":
            return
        with_value, without = OPTIONS[flavour]
        dash, letter, rest = word[:1], word[1:2] or "?", word[2:]
        if dash != "-" or letter not in with_value + without:
            raise RefusedError(f"usage: {word}")
        value = "" if letter in without else rest or next(remaining, "")
        if letter == "l":
            request.resources |= dict(_resource(item, request) for item in value.split(","))
        elif letter == "v":  # the last one replaces those before
            request.variables = dict(_variable(item) for item in value.split(","))
        elif set(value) & set("\"'\\"):
            raise RefusedError(f"quoting: {value}")
        else:
            request.options[f"-{letter}"] = value


def _resource(item: str, request: Request) -> tuple[str, str]:
    name, _, value = item.partition("=")
    assert name not in request.resources, f"{name} is asked for twice"
    return name, value


def _variable(item: str) -> tuple[str, str]:
    name, said, value = item.partition("=")
    if not said or not name.isidentifier():
        raise RefusedError("invalid -v syntax")
    return name, value


def _check_resources(flavour: str, request: Request) -> None:
    asked = set(request.resources)
    if not asked <= RESOURCES[flavour]:
        raise RefusedError(f"Unknown resource {asked - RESOURCES[flavour]}")
    time = request.resources.get("walltime", "0").split(":")
    if not all(part.isdigit() for part in time):
        raise RefusedError("Illegal attribute or resource value Resource_List.walltime")
