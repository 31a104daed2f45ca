"""CPU lists: read, printed, refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vtorque_spec.site.cpus import HIGHEST_CPU, CpuList, print_cpus

CPUS: TypeAdapter[tuple[int, ...]] = TypeAdapter(CpuList)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3", (0, 1, 2, 3)),
        ("32-33,0-1", (0, 1, 32, 33)),
        ("0-1, 4", (0, 1, 4)),
        (7, (7,)),
        (["0-1", 4], (0, 1, 4)),
        (str(HIGHEST_CPU), (HIGHEST_CPU,)),
    ],
)
def test_read(text: object, cpus: tuple[int, ...]) -> None:
    assert CPUS.validate_python(text) == cpus


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the text is empty"),
        ("3-0", "`3-0` is not a list of CPUs"),
        ("0-", "`0-` is not a list of CPUs"),
        ("01", "`01` is not a list of CPUs"),
        ("all", "`all` is not a list of CPUs"),
        ("65536", "`65536` is not a list of CPUs"),
        ("0-99999", "`0-99999` is not a list of CPUs"),
        ("0-3,2", "the list has the CPU 2 twice"),
        (["0-3,8"], "`0-3,8` is not a list of CPUs"),
        (-1, "`-1` is not a list of CPUs"),
        (True, "`True` is not a list of CPUs"),
        ({"a": 1}, "is not a list of CPUs"),
    ],
)
def test_refused(text: object, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CPUS.validate_python(text)
    assert why in caught.value.errors()[0]["msg"]


@given(st.sets(st.integers(0, HIGHEST_CPU), min_size=1, max_size=40))
def test_print_and_read(cpus: set[int]) -> None:
    assert set(CPUS.validate_python(print_cpus(cpus))) == cpus
