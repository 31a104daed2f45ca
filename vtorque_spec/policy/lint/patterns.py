"""Patterns that can take time without bound: where a text can be matched in exponentially many ways.

A pattern becomes a position automaton (Glushkov 1961). It is exponentially ambiguous when a position can come back to
itself along two different ways that read the same text (Weber and Seidl 1991); a backtracking matcher then tries all.
Bounds below 10 repeats count as one, which cannot explode; lookaheads and back references are read as empty.
"""

import importlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vtorque_spec.diagnostics import Code
from vtorque_spec.document import Path
from vtorque_spec.policy.lint.view import View

_parser: Any = importlib.import_module("re._parser")  # the standard library's reader of patterns; it has no stubs
_compiler: Any = importlib.import_module("re._compiler")

MANY = 10
"""Repeats from which on a bounded repetition counts as unbounded."""

POSITIONS_LIMIT = 120
"""Longer patterns are not judged: the time of this check grows with the fourth power."""

_ALPHABET = [*map(chr, range(128)), "é"]


def check(view: View) -> None:
    """Look at every pattern of the policy."""
    for place in view.own:
        found: list[tuple[str, Path]] = []
        if isinstance(place.schema.get("pattern"), str):
            found.append((place.schema["pattern"], (*place.path, "pattern")))
        found += [
            (name, (*place.path, "patternProperties", name)) for name in place.schema.get("patternProperties", {})
        ]
        for pattern, path in found:
            if explodes(pattern):
                span = place.document.span(path) if path[-1] == "pattern" else place.document.key_span(path)
                message = "this pattern can take exponentially long: repeats that overlap stand inside a repeat"
                hint = "let each repeat end at a character that it cannot match itself, as in ([a-z]+-)*[a-z]+"
                view.add(Code.POLICY_PATTERN, message, span, hint)


def explodes(pattern: str) -> bool:
    """Return whether some text can be matched in exponentially many ways; raises re.error for no pattern."""
    tree = _parser.parse(pattern)
    automaton = _Automaton()
    automaton.build(tree)
    return len(automaton.chars) <= POSITIONS_LIMIT and automaton.is_ambiguous()


@dataclass(slots=True)
class _Part:
    """A part of a pattern: in how many ways it matches nothing, and with which positions it begins and ends."""

    empty: int
    first: Counter[int]
    last: Counter[int]


class _Automaton:
    """`chars` are what each position matches, `follow` how often one position comes after another."""

    def __init__(self) -> None:
        self.chars: list[frozenset[str]] = []
        self.follow: Counter[tuple[int, int]] = Counter()

    def build(self, tree: Any) -> _Part:
        part = _Part(1, Counter(), Counter())
        for item in tree:
            part = self._then(part, self._item(tree.state, item))
        return part

    def _then(self, one: _Part, two: _Part) -> _Part:
        self._join(one.last, two.first)
        first = one.first + _times(two.first, one.empty)
        return _Part(one.empty * two.empty, first, two.last + _times(one.last, two.empty))

    def _join(self, last: Counter[int], first: Counter[int]) -> None:
        for one, ways in last.items():
            for two, more in first.items():
                self.follow[one, two] += ways * more

    def _item(self, state: Any, item: Any) -> _Part:
        word, value = str(item[0]), item[1]
        if word == "SUBPATTERN":
            return self.build(value[-1])
        if word == "BRANCH":
            parts = [self.build(choice) for choice in value[1]]
            both = _Part(0, Counter(), Counter())
            for one in parts:
                both = _Part(both.empty + one.empty, both.first + one.first, both.last + one.last)
            return both
        if word in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = value
            part = self.build(inner)
            for _ in range((most >= MANY) + (least >= MANY and part.empty > 0)):  # of (a?){30} each may be the one
                self._join(part.last, part.first)
            empty = (least == 0) + part.empty if most == 1 else least == 0 or part.empty > 0
            return _Part(int(empty), part.first, part.last)
        if word in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            self.chars.append(_matched(state, item))
            position = len(self.chars) - 1
            return _Part(0, Counter([position]), Counter([position]))
        return _Part(1, Counter(), Counter())

    def is_ambiguous(self) -> bool:
        """Whether a position comes back to itself in two ways that read the same text."""
        after: dict[int, list[int]] = {}
        for one, two in self.follow:
            after.setdefault(one, []).append(two)
        return any(self._comes_back_twice(start, after) for start in after)

    def _comes_back_twice(self, start: int, after: dict[int, list[int]]) -> bool:
        """Walk two ways at once; a state is where both are, and whether they have been apart."""
        seen = set()
        waiting = [(start, start, False)]
        while waiting:
            one, two, apart = waiting.pop()
            for next_one, next_two in self._steps(one, two, after):
                twice = one == two and next_one == next_two and self.follow[one, next_one] > 1
                state = (next_one, next_two, apart or twice or next_one != next_two)
                if state == (start, start, True):
                    return True
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
        return False

    def _steps(self, one: int, two: int, after: dict[int, list[int]]) -> Iterator[tuple[int, int]]:
        for next_one in after.get(one, ()):
            for next_two in after.get(two, ()):
                if self.chars[next_one] & self.chars[next_two]:
                    yield next_one, next_two


def _times(counts: Counter[int], number: int) -> Counter[int]:
    return Counter({position: ways * number for position, ways in counts.items()}) if number else Counter()


def _matched(state: Any, item: Any) -> frozenset[str]:
    single: re.Pattern[str] = _compiler.compile(_parser.SubPattern(state, [item]))
    return frozenset(char for char in _ALPHABET if single.fullmatch(char))
