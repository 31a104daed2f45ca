"""The body of a job on several nodes: all are followed from the plan on, and a fault of one is the job's."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.test_body import BOOT, Steps, node, planned, published
from vtorque_runtime import body
from vtorque_runtime.body import FailedError, Others, Told
from vtorque_runtime.status import FAILED, READY, Publisher
from vtorque_runtime.verdict import of_error

__all__ = ["published"]


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Others]:
    """The job's other nodes, where the batch system's remote start runs one shell text for each."""

    def of(*texts: str) -> Others:
        commands = [["sh", "-c", text] for text in texts]
        monkeypatch.setattr(body, "adapter", lambda _system: type("A", (), {"elsewhere": lambda *_: commands}))
        return Others("slurm", Told())

    return of


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (("exit 78", "exit 0"), 78),
        (("exit 0", "exit 75"), 75),
        (("exit 1", "exit 78"), 78),
        (("exit 0", "exit 1"), 75),
        (("kill -9 $$", "sleep 60"), 75),
    ],
)
def test_another_node_that_fails(
    published: Publisher, others: Callable[..., Others], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capfd: pytest.CaptureFixture[str], texts: tuple[str, ...], code: int,
) -> None:  # fmt: skip
    """What it says itself is shown; the body ends with its verdict's code, whatever becomes of its own node."""
    planned(monkeypatch, "n1", "n2", "n3")
    go = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo 'error[VT0902]: said there' >&2"
    found = others(*(f"{go}; {text}" for text in texts))

    def let_them() -> None:
        (tmp_path / "go").touch()
        for process, text in zip(found._running, texts, strict=True):
            if "sleep" not in text:
                process.wait(10)

    with pytest.raises(FailedError) as caught:
        body._wait_until_ready(node(published), found, Steps(let_them))
    found.end()
    assert caught.value.code == code
    said = capfd.readouterr().err
    assert "the guests on other nodes (n2, n3) did not get ready" in said
    assert "said there" in said


def test_a_node_that_fails_itself_ends_the_others_wait(
    published: Publisher, others: Callable[..., Others], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned(monkeypatch, "n1", "n2")
    found = others(f"trap 'touch {tmp_path}/told; exit 0' TERM; touch {tmp_path}/began; while :; do sleep 0.1; done")

    def fail() -> None:
        until = time.monotonic() + 30
        while not (tmp_path / "began").exists():
            assert time.monotonic() < until, "it was not followed"
            time.sleep(0.02)
        published.publish(phase=FAILED, verdict=of_error(BOOT, "booting"))

    with pytest.raises(FailedError) as caught:
        body._wait_until_ready(node(published), found, Steps(fail))
    assert caught.value.code == 75
    found.end()
    assert (tmp_path / "told").exists()


def test_a_job_that_runs_when_all_are_ready(
    published: Publisher, others: Callable[..., Others], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned(monkeypatch, "n1", "n2")
    found = others(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo >>{tmp_path}/calls")
    steps = [
        lambda: published.phase(READY),
        lambda: (tmp_path / "go").touch(),
        lambda: [process.wait(10) for process in found._running],
    ]
    body._wait_until_ready(node(published), found, Steps(*steps))
    for process in found._running:
        process.wait(10)
    assert (tmp_path / "calls").read_text() == "\n\n", "once until ready, once to watch"


def test_another_node_that_is_lost_later(others: Callable[..., Others], capfd: pytest.CaptureFixture[str]) -> None:
    found = others("exit 0", "exit 0")
    found.follow(("n2", "n3"))
    for process in found._running:
        process.wait(10)
    assert found.ready()
    for process in found._running:
        process.wait(10)
    fault = found.look()
    assert fault is not None
    assert (fault.code, "n2, n3" in fault.message) == ("VT0913", True)
    found.end()


@pytest.mark.parametrize(
    ("texts", "code"), [(("exit 0", "exit 5"), 5), (("exit 0", "exit 0"), 0), (("kill -9 $$", "exit 3"), 137)]
)
def test_unikernels_that_end_before_the_others_are_ready(
    others: Callable[..., Others], tmp_path: Path, texts: tuple[str, str], code: int
) -> None:
    """They were ready, and ended by themselves: what they ended with is the job's own."""
    calls = tmp_path / "calls"
    found = others(*(f"test -e {calls}{n} && {text}; touch {calls}{n}" for n, text in enumerate(texts)))
    found.follow(("n2", "n3"), "osv")
    for _ in range(2):
        for process in found._running:
            process.wait(10)
        assert found.ready()
    for process in found._running:
        process.wait(10)
    assert found.ready()
    assert found.code() == code
    found.end()


def test_no_other_nodes() -> None:
    alone = Others("slurm", Told())
    alone.follow(())
    assert alone.ready()
    assert alone.look() is None
