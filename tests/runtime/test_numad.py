"""numad's advice, the real one's and that of stand-ins: cells that a job can be put in, or a finding."""

import os
import shutil
from pathlib import Path

import pytest

from tests.runtime import fakes
from vtorque_runtime import numad, sysfs
from vtorque_runtime.numad import advised_cells
from vtorque_spec.fault import Fault
from vtorque_spec.plan import Cell

CELLS = (*fakes.node_cells(), Cell(4, (), 2**30, (), ()))
"""Cells 0 and 1 with CPUs, cell 4 with memory only."""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called numad that the test writes."""
    monkeypatch.setattr(numad, "_PATH", {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    return tmp_path / "numad"


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.root
def test_the_real_one() -> None:
    if os.geteuid() != 0:
        pytest.skip("numad needs root")
    if shutil.which("numad") is None:
        pytest.skip("numad is not installed")
    cells = sysfs.cells()
    advised = advised_cells(1, 64, cells)
    assert set(advised) <= {cell.id for cell in cells if cell.cores}
    assert advised


@pytest.mark.parametrize(
    ("said", "cells"),
    [("0", (0,)), ("0-1", (0, 1)), ("0,1", (0, 1)), ("1", (1,)), ("1,4", (1, 4)), ("  1  ", (1,))],
)
def test_advice(stand_in: Path, said: str, cells: tuple[int, ...]) -> None:
    program(stand_in, f'[ "$*" = "-w 8:4096" ] && echo "{said}"')
    assert advised_cells(8, 4096, CELLS) == cells


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no cell with CPUs"),
        ("echo", "no cell with CPUs"),
        ("echo 4", "no cell with CPUs"),
        ("echo 1,0", "no list of cells"),
        ("echo 0,0", "no list of cells"),
        ("echo 2", "the cell 2, which this node does not have"),
        ("echo 0-7", "the cell 2, which"),
        ("echo auto", "no list of cells"),
        ("echo '0-'", "no list of cells"),
        ("echo '0 1'", "no list of cells"),
        ("echo 'numad is already running'", "no list of cells"),
        ("printf '0\\n1\\n'", "no list of cells"),
        ("printf '\\377\\376'", "no list of cells"),
        ("echo 0; echo msgget failed >&2; exit 1", "exit code 1"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_useless_advice_is_a_finding(stand_in: Path, text: str, words: str) -> None:
    program(stand_in, text)
    with pytest.raises(Fault, match=f"VT0917.*{words}") as caught:
        advised_cells(1, 64, CELLS)
    assert "pinning: numad" in (caught.value.help or "")


def test_what_it_complained_of_is_shown(stand_in: Path) -> None:
    program(stand_in, "echo msgget failed >&2; exit 1")
    with pytest.raises(Fault) as caught:
        advised_cells(1, 64, CELLS)
    assert caught.value.detail == "msgget failed"


def test_one_that_hangs(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numad, "LIMIT_S", 0.2)
    program(stand_in, "exec sleep 100")
    with pytest.raises(Fault, match=r"VT0917.*no answer within"):
        advised_cells(1, 64, CELLS)


def test_without_numad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numad, "_PATH", {"PATH": str(tmp_path)})
    with pytest.raises(Fault, match=r"VT0917.*this host has no numad") as caught:
        advised_cells(1, 64, CELLS)
    assert "apt install numad" in (caught.value.help or "")
