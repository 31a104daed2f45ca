"""`--select` and `--ignore`: which codes are reported."""

from collections.abc import Collection
from dataclasses import dataclass

from vtorque_spec.diagnostics import Code, near_miss
from vtorque_spec.policy.rules import walk
from vtorque_spec.site import Site


class UnknownCode(ValueError):  # noqa: N818 - says more than UnknownCodeError
    """A word that no code starts with; the text says which, and what was probably meant."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Codes or their beginnings. What is ignored is not reported, even if it is selected."""

    select: tuple[str, ...] = ("",)
    ignore: tuple[str, ...] = ()

    def has(self, code: str) -> bool:
        """Whether findings with this code are reported."""
        return code.startswith(self.select) and not code.startswith(self.ignore)


def known_codes(site: Site) -> frozenset[str]:
    """Return the codes that a job's findings may have: the program's, and those that the site's policy gives."""
    return frozenset([code.id for code in Code] + [code for place in walk(site.policy) if (code := place.said("code"))])


def codes_of(text: str, known: Collection[str]) -> tuple[str, ...]:
    """Read a list of codes or their beginnings, such as ``VT0203,VT03,HLRS``; raises UnknownCode."""
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise UnknownCode("no code is named")
    for word in words:
        if not any(code.startswith(word) for code in known):
            meant = near_miss(word, known)
            raise UnknownCode(f"no code starts with `{word}`" + (f", did you mean {meant}?" if meant else ""))
    return words
