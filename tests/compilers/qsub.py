"""How qsub reads a script: a recording stand-in for Torque's and OpenPBS's, by the rules that were measured on them."""

import re
from dataclasses import dataclass, field

OPTIONS = {
    "torque": ("aAbcCdDeFijJklLmMNopPqrStTuvwW", "EfhInVxXz"),
    "openpbs": ("aAcCejJklmMNopPqrRSuvW", "fGhIVXz"),
}
"""The options that take a value, and those that take none; qsub refuses any other."""

TORQUE_LINE_BYTES = 32766
OPENPBS_WORDS = 128

RESOURCES = {
    "torque": {"nodes", "mem", "walltime", "naccesspolicy"},
    "openpbs": {"select", "place", "walltime", "vtspec"},
}
"""Those that the compiler may ask for, not all that there are."""


SERVER = r"(\.[A-Za-z0-9.-]+)?"
JOBS = {
    "torque": {"after[a-z]*": rf"[0-9]+(\[[0-9]+\])?{SERVER}", "after[a-z]*array": rf"[0-9]+\[\]{SERVER}"},
    "openpbs": {"after[a-z]*": rf"[0-9]+(\[\])?{SERVER}"},
}
"""The jobs that each kind of dependency takes; the last kind that fits counts. (OpenPBS: none on a subjob.)"""

KINDS = {
    "torque": {f"{kind}{array}" for kind in ("after", "afterok", "afternotok", "afterany") for array in ("", "array")}
    - {"afterarray"}
    | {"afterstartarray"},
    "openpbs": {"after", "afterok", "afternotok", "afterany"},
}


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
        elif f"-{letter}" in request.options and letter != "W":
            raise AssertionError(f"-{letter} is said twice")
        else:
            _check_value(flavour, letter, value)
            request.options[f"-{letter}"] = value


def _check_value(flavour: str, letter: str, value: str) -> None:
    """What qsub checks itself of the options that the compiler uses. A file name is not read."""
    fine = {
        "t": r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*(%[0-9]+)?",
        "J": r"[0-9]+-[0-9]+(:[1-9][0-9]*)?(%[0-9]+)?",
        "m": "n|[abe]+" if flavour == "torque" else "n|j?[abe]+",
        "M": r"[^\s,@]+(@[^\s,@]+)?(,[^\s,@]+(@[^\s,@]+)?)*",
        "W": "depend=.*",
    }
    if letter in fine and not re.fullmatch(fine[letter], value):
        raise RefusedError(f"illegal -{letter} value {value}")
    if letter == "J" and int(value.split("-")[0]) >= int(re.split("[-:%]", value)[1]):
        raise RefusedError(f"illegal -J value {value}")
    for item in value.removeprefix("depend=").split(",") if letter == "W" else ():
        kind, *jobs = item.split(":")
        form = [form for kinds, form in JOBS[flavour].items() if re.fullmatch(kinds, kind)]
        if kind not in KINDS[flavour] or not jobs or not all(re.fullmatch(form[-1], job) for job in jobs):
            raise RefusedError(f"illegal -W value {item}")


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
