"""Values and limits are shown alike, whatever unit the policy writes."""

import pytest

from vtorque_spec.document import Path
from vtorque_spec.policy.values import shown


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("timeouts", "boot"), "8min", "00:08:00"),
        (("timeouts", "boot"), 480, "00:08:00"),
        (("memory",), "24576MiB", "24GiB"),
        (("memory",), "250GB", "250GB"),
        (("memory",), 250 * 10**9, "250GB"),
        (("memory",), "much", "much"),
        (("batch", "queue"), "8min", "8min"),
    ],
)
def test_quantities_have_one_spelling(path: Path, value: object, text: str) -> None:
    assert shown(path, value) == text
