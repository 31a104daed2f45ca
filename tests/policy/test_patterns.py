"""Which patterns can be matched in exponentially many ways."""

import re

import pytest

from vtorque_spec.policy.lint.patterns import explodes

EXPLODES = [
    "(a+)+", "(.*)*x", "^(a*)*$", "(a|aa)+$", "^(a|a)*$", "(ab|ab)*c", r"(\w+\s?)*$", "(.+,)*x", "([a-z]{2,20})*1",
    "^(([a-z])+.)+[A-Z]([a-z])+$", "(a?){30}", "(?=a)(a+)+b", "^(hpc|[a-z]+)*$", "(?i)(a|A+)*b", "((a|b)+c?)*d",
    "(x|y?)*(a|a?)+z", "^(?P<n>[^,]*,?)*$",
]  # fmt: skip
FINE = [
    "", "^[a-z]", "([a-z]+-)*[a-z]+", r"(\w+\s)*$", r"^([0-9]{1,3}\.){3}[0-9]{1,3}$", "^[a-z0-9-]+(\\.[a-z0-9-]+)*$",
    "(x{1,3}){1,3}", "(?i)(a|b)*", ".*.*.*x", "((a|b)*c)*d", "(a++)+b", "^(ab|cd)*$", "^(a|b)+$", r"^hpc[0-9]{4}$",
    "^(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$",
]  # fmt: skip


@pytest.mark.parametrize("pattern", EXPLODES)
def test_exponential(pattern: str) -> None:
    re.compile(pattern)
    assert explodes(pattern)


@pytest.mark.parametrize("pattern", FINE)
def test_harmless(pattern: str) -> None:
    assert not explodes(pattern)


def test_a_long_pattern_is_judged_in_bounded_time() -> None:
    assert not explodes("(" + "|".join(f"word{number}" for number in range(2000)) + ")*")
