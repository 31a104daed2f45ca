"""Regular expressions of the sizes and durations between two bounds: JSON Schema cannot compare texts with units."""

import re

from vtorque_spec.units import DURATION_UNITS, SIZE_UNITS

_SIZE_DIGITS, _DURATION_DIGITS, _HOUR_DIGITS = 16, 9, 4
"""The longest numbers that vtorque_spec.units takes before a unit, and as hours."""

_NEVER = "(?!)"


def size_pattern(low_bytes: int, high_bytes: int | None) -> str:
    """Return the pattern of the sizes from `low_bytes` to `high_bytes` (None: of any size above)."""
    return _whole(_with_units(SIZE_UNITS, low_bytes, high_bytes, _SIZE_DIGITS))


def duration_pattern(low_seconds: int, high_seconds: int | None) -> str:
    """Return the pattern of the durations from `low_seconds` to `high_seconds` (None: of any length above)."""
    units = _with_units(DURATION_UNITS, low_seconds, high_seconds, _DURATION_DIGITS)
    return _whole(units + _clocks(max(low_seconds, 1), high_seconds))


def _whole(cases: list[str]) -> str:
    return f"^({'|'.join(cases) or _NEVER})$"


def _with_units(units: dict[str, int], low: int, high: int | None, digits: int) -> list[str]:
    by_range: dict[str, list[str]] = {}
    for unit, factor in units.items():
        last = 10**digits - 1 if high is None else min(high // factor, 10**digits - 1)
        numbers = _numbers(max(-(-low // factor), 1), last)
        if numbers:
            by_range.setdefault(numbers, []).append(unit)
    return [f"({numbers}) ?({'|'.join(names)})" for numbers, names in by_range.items()]


def _numbers(low: int, high: int) -> str:
    """The whole numbers from `low`, which is above 0, to `high`, without leading zeros; empty where there is none."""
    cases, full = [], []
    for width in range(len(str(low)), len(str(high)) + 1 if low <= high else 0):
        first, last = 10 ** (width - 1), 10**width - 1
        if low <= first and last <= high:
            full.append(width - 1)
        else:
            cases.append(_between(str(max(low, first)), str(min(high, last)), "9" * width))
    if full:
        cases.append("[1-9]" + (f"[0-9]{{{full[0]},{full[-1]}}}" if full[-1] else ""))
    return "|".join(cases)


def _clocks(low_seconds: int, high_seconds: int | None) -> list[str]:
    """HH:MM:SS with one to four digits of hours, leading zeros among them."""
    cases = []
    for width in range(1, _HOUR_DIGITS + 1):
        longest = 3600 * 10**width - 1
        last = longest if high_seconds is None else min(high_seconds, longest)
        if low_seconds <= last:
            cases.append(_between(_clock(low_seconds, width), _clock(last, width), "9" * width + ":59:59"))
    return cases


def _clock(seconds: int, width: int) -> str:
    return f"{seconds // 3600:0{width}}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _between(low: str, high: str, top: str) -> str:
    """The texts from `low` to `high`, all as long as `top`, which has the highest character of each place."""
    if low == high:
        return low
    if low[0] == high[0]:
        return low[0] + _between(low[1:], high[1:], top[1:])
    first, last, rest = int(low[0]), int(high[0]), top[1:]
    lowest = re.sub("[0-9]", "0", rest)
    cases = []
    if low[1:] != lowest:
        cases.append(low[0] + _between(low[1:], rest, rest))
        first += 1
    if high[1:] != rest:
        cases.append(high[0] + _between(lowest, high[1:], rest))
        last -= 1
    if first <= last:
        cases.append((f"[{first}-{last}]" if first < last else str(first)) + _any(rest))
    return cases[0] if len(cases) == 1 else f"({'|'.join(cases)})"


def _any(top: str) -> str:
    places = "".join(place if place == ":" else f"[0-{place}]" for place in top)
    return re.sub(r"(\[0-9\]){2,}", lambda found: f"[0-9]{{{len(found[0]) // 5}}}", places)
