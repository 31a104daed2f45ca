"""How OSv reads its command line, in the order of its own code: core/commands.cc, and stresep(3) of its libc."""

from collections.abc import Iterator

_BLANKS = " \t\n"
_SPACES = " \t\n\v\f\r"
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}


class RefusedError(Exception):
    """OSv would say `Failed to parse command line.` and power off, or drop what follows."""


def read(line: str) -> tuple[list[str], dict[str, str], list[list[str]]]:
    """Return the kernel's options without `--env`, the environment, and the commands with their variables expanded."""
    options, rest = _options(line)
    environment = dict(one.removeprefix("--env=").split("=", 1) for one in options if one.startswith("--env="))
    commands = [[_expanded(word, environment) for word in command] for command in _commands(rest)]
    return [one for one in options if not one.startswith("--env=")], environment, commands


def _options(line: str) -> tuple[list[str], str]:
    """loader_parse_cmdline: options, up to the first word that is none."""
    found = []
    while line.lstrip(_BLANKS).startswith("-"):
        word, line = _token(line)
        found += [word] if word else []
        if any(value == "" for _, _, value in [word.partition("=")] if "=" in word):
            raise RefusedError(f"an option without its value: {word}")
    return found, line


def _token(line: str) -> tuple[str, str]:
    """stresep: up to a blank before which no backslash stands; what stands after a backslash is taken as it is."""
    word, at = "", 0
    while at < len(line) and line[at] not in _BLANKS:
        at += line[at] == "\\"
        word += line[at : at + 1]
        at += 1
    return word, line[at + 1 :]


def _commands(text: str) -> Iterator[list[str]]:
    """The grammar `commands`: where a command has no word, all that follows is dropped."""
    if not text.isascii():
        raise RefusedError("the grammar has 7 bits")
    at = 0
    while text[at:].strip(_SPACES):
        command, at = _command(text, at)
        if not command:
            raise RefusedError("a command without a word")
        yield command


def _command(text: str, at: int) -> tuple[list[str], int]:
    words: list[str] = []
    while True:
        while text[at : at + 1] and text[at] in _SPACES:
            at += 1
        if at >= len(text) or text[at] in ";&!":
            return words, at + 1 + (text[at : at + 2] == "&!")
        word, at = _quoted(text, at) if text[at] == '"' else _bare(text, at)
        words.append(word)


def _quoted(text: str, at: int) -> tuple[str, int]:
    word, at = "", at + 1
    while text[at : at + 1] != '"':
        if at >= len(text):
            raise RefusedError("a quote without its end")
        part, at = _character(text, at)
        word += part
    return word, at + 1


def _bare(text: str, at: int) -> tuple[str, int]:
    word = ""
    while at < len(text) and text[at] not in " ;&!":
        part, at = _character(text, at)
        word += part
    return word, at


def _character(text: str, at: int) -> tuple[str, int]:
    if text[at] == "\\" and text[at + 1 : at + 2] in _ESCAPES:
        return _ESCAPES[text[at + 1]], at + 2
    return text[at], at + 1


def _expanded(word: str, environment: dict[str, str]) -> str:
    """expand_environ_vars: after the first `$` all is one name, of a variable that may not be there."""
    before, dollar, name = word.partition("$")
    return before + environment.get(name, "") if dollar else word
