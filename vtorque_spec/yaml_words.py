"""libyaml's words for what it cannot read, in ours. Data only."""

_QUOTES = "put the value in quotes"

PROBLEMS: dict[str | None, tuple[str, str | None]] = {
    "mapping values are not allowed in this context": (
        "a `:` cannot stand here", "put text that holds `: ` in quotes; align a key with the keys above it"),
    "did not find expected key": (
        "the mapping cannot go on like this", "write `key: value`, in the same column as the keys before it"),
    "could not find expected ':'": ("no `: ` follows this", "write `key: value`, with a space after the colon"),
    "did not find expected ',' or ']'": ("the list is not closed, or lacks a comma", "write `[one, two]`"),
    "did not find expected ',' or '}'": ("the mapping is not closed, or lacks a comma", "write `{one: 1, two: 2}`"),
    "found unexpected end of stream": ("the quotes that start here are not closed", "close them"),
    "found character that cannot start any token": ("plain text cannot start with this character", _QUOTES),
    "did not find expected alphabetic or numeric character": ("plain text cannot start with this character", _QUOTES),
    "found unknown escape character": (
        "there is no such escape in double quotes", "write the backslash twice, or use single quotes"),
    "found invalid Unicode character escape code": ("there is no character of that number", None),
    "found undefined tag handle": ("the language has no tags", "remove it; quote the value if it is text"),
    "block sequence entries are not allowed in this context": (
        "a list item cannot start here", "put it on a line of its own, or write `[one, two]`"),
    "did not find expected '-' indicator": ("the list cannot go on like this", "start each item with `- `"),
    "found unexpected ':'": (
        "a `:` cannot stand here", "put a value that holds a colon in quotes, or write `key: value`, with a space"),
    "did not find expected node content": ("a key or a value is missing here", None),
    "did not find expected comment or line break": (
        "nothing can follow here", "start the text on the next line, indented"),
}  # fmt: skip
"""libyaml's words for a problem -> ours, and what to do."""

AT_THE_START = {
    "could not find expected ':'",
    "found unexpected end of stream",
    "did not find expected alphabetic or numeric character",
}
"""Problems that libyaml places where it gave up, not where they begin."""

STARTS = {
    "while parsing a block mapping": "the mapping starts here",
    "while parsing a flow mapping": "the mapping starts here",
    "while parsing a block collection": "the list starts here",
    "while parsing a flow sequence": "the list starts here",
}
"""The construct that libyaml was in -> the note at its first character."""
