"""Quantities: sizes in bytes and durations in seconds; parse and print, nothing else."""

import re
from fractions import Fraction

SIZE_UNITS = {
    "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
"""Bytes of each unit."""
DURATION_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
"""Seconds of each unit."""
_DURATION_WORDS = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "min", "mins": "min", "minute": "min", "minutes": "min",
    "h": "h", "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
    "d": "d", "day": "d", "days": "d",
}  # fmt: skip

LENGTH_LIMIT = 60
"""Characters that a quantity may have; counting with thousands of digits takes long."""
SIZE_PATTERN = r"[1-9][0-9]{0,15} ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)"
DURATION_PATTERN = r"([0-9]{1,4}:[0-5][0-9]:[0-5][0-9]|[1-9][0-9]{0,8} ?(s|m|min|h|d))"


class QuantityError(ValueError):
    """The text is no quantity; `help` says what would be, `exact` is the one spelling that can be meant, if any."""

    def __init__(self, message: str, help: str, exact: str | None = None) -> None:  # noqa: A002 - as in every finding
        super().__init__(message)
        self.help = help
        self.exact = exact


def parse_size(text: str) -> int:
    """Return the bytes that `text` (``24GiB``, ``500 MB``) stands for; raises QuantityError."""
    match = re.fullmatch(r"([0-9]+)(?:\.[0-9]+)? ?([A-Za-z]*)", text)
    if len(text) > LENGTH_LIMIT:
        raise QuantityError(f"`{text[:LENGTH_LIMIT]}...` is not a size", "write it as in 24GiB")
    if match is None:
        raise QuantityError(f"`{text}` is not a size", "write a whole number and a unit, as in 24GiB")
    number, unit = match.groups()
    if not unit:
        raise QuantityError(
            f"`{text}` has no unit", f"write a whole number and a unit, as in {number}GiB or {number}MiB"
        )
    if unit not in SIZE_UNITS:
        meant = {"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB"}.get(unit[0].lower())
        hint = f"write {number}{meant}" if meant else "the units are B, KiB, MiB, GiB, TiB, kB, MB, GB and TB"
        binary = re.fullmatch("[kmgt]ib?", unit, re.IGNORECASE) and re.fullmatch(SIZE_PATTERN, f"{number}{meant}")
        exact = f"{number}{meant}" if binary and "." not in text else None  # `24gb` and `24G` may be powers of 1000
        raise QuantityError(f"`{unit}` is not a unit of size", hint, exact)
    if not re.fullmatch(SIZE_PATTERN, text):
        raise _refused(text, number, unit)
    return int(number) * SIZE_UNITS[unit]


def _refused(text: str, number: str, unit: str) -> QuantityError:
    """Say what is wrong with a number of a known unit, and the same size as it can be written."""
    size_bytes = Fraction(text.removesuffix(unit).strip()) * SIZE_UNITS[unit]
    if size_bytes == 0:
        return QuantityError(f"`{text}` is no size at all", "write a size above zero")
    exact = print_size(int(size_bytes)) if size_bytes.denominator == 1 else None
    hint = f"write {exact}" if exact else "write it in a smaller unit"
    if "." in text:
        return QuantityError(f"`{text}` is not a whole number", hint, exact)
    if number.startswith("0"):
        return QuantityError(f"`{text}` has a leading zero", hint, exact)
    return QuantityError(f"`{text}` is too large", "write a size below 2^53 bytes")


def print_size(size_bytes: int) -> str:
    """Return the shortest exact spelling of a size: 2 GiB is ``2GiB``, not ``2048MiB``."""
    whole = [(size_bytes // factor, unit) for unit, factor in SIZE_UNITS.items() if size_bytes % factor == 0]
    return min((f"{number}{unit}" for number, unit in whole), key=len) if size_bytes else "0B"


def parse_duration(text: str) -> int:
    """Return the seconds that `text` (``02:00:00``, ``120s``, ``5 min``) stands for; raises QuantityError."""
    if re.fullmatch(r"[0-9]{1,4}:[0-5][0-9]:[0-5][0-9]", text):
        hours, minutes, seconds = map(int, text.split(":"))
        total = hours * 3600 + minutes * 60 + seconds
        if total == 0:
            raise QuantityError(f"`{text}` is no time at all", "write a duration above zero")
        return total
    match = re.fullmatch(r"([1-9][0-9]{0,8}) ?(s|m|min|h|d)", text)
    if len(text) > LENGTH_LIMIT:
        raise QuantityError(f"`{text[:LENGTH_LIMIT]}...` is not a duration", 'write "HH:MM:SS", or as in 90min')
    if match is None:
        if text.isdecimal():
            raise QuantityError(f"`{text}` has no unit", f"write the unit, as in {text}s, or HH:MM:SS in quotes")
        exact = _exact_duration(text)
        hint = f"write {exact}" if exact else 'write "HH:MM:SS", or a whole number above zero and s, min, h or d'
        raise QuantityError(f"`{text}` is not a duration", hint, exact)
    return int(match[1]) * DURATION_UNITS[match[2]]


def _exact_duration(text: str) -> str | None:
    """Return the spelling of ``5 minutes``; None where it is not sure what is meant (``5M``: minutes, months?)."""
    match = re.fullmatch(r"([1-9][0-9]{0,8}) *([A-Za-z]+)", text)
    unit = _DURATION_WORDS.get(match[2].lower()) if match else None
    return f"{match[1]} {unit}" if match and unit else None


def print_duration(seconds: int) -> str:
    """Return a duration as HH:MM:SS."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
