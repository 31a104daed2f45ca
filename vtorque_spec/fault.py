"""The exception that compilers and the runtime raise: a finding without a place in a file. Standard library only."""


class Fault(Exception):  # noqa: N818 - the word of batch systems: a user fault, a site fault, a node fault
    """A failure that a person can act on.

    `code` is a stable finding code (VT0601); `message` is lower case, without a full stop, and says what is wrong;
    `help` says how to mend it; `detail` is longer evidence to show below (a console's tail, a tool's own words).
    """

    def __init__(self, code: str, message: str, *, help: str | None = None, detail: str | None = None) -> None:  # noqa: A002 - the field's name in every finding
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.help = help
        self.detail = detail
