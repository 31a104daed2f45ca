"""Quantities parse exactly and print back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtorque_spec.units import QuantityError, parse_duration, parse_size, print_duration, print_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1B", 1), ("24GiB", 24 * 2**30), ("500 MB", 500_000_000), ("1kB", 1000), ("1536MiB", 1536 * 2**20)],
)
def test_size(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "GiB", "24", "24G", "24 gib", "1.5GiB", "0GiB", "007MiB", "-1GiB", "1e3MiB", "4GiBs"]
)
def test_no_size(text: str) -> None:
    with pytest.raises(QuantityError) as error:
        parse_size(text)
    assert error.value.help


@pytest.mark.parametrize(
    ("text", "seconds"), [("02:00:00", 7200), ("0:00:01", 1), ("120s", 120), ("5 min", 300), ("5m", 300), ("1d", 86400)]
)
def test_duration(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "120", "0s", "00:00:00", "1:60:00", "10:00", "1.5h", "5 parsecs", "-5s"])
def test_no_duration(text: str) -> None:
    with pytest.raises(QuantityError) as error:
        parse_duration(text)
    assert error.value.help


@given(st.integers(1, 2**53 - 1))
def test_size_round_trip(size_bytes: int) -> None:
    assert parse_size(print_size(size_bytes)) == size_bytes


@given(st.integers(1, 9999 * 3600))
def test_duration_round_trip(seconds: int) -> None:
    assert parse_duration(print_duration(seconds)) == seconds
