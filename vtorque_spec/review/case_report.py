"""What became of a policy's cases, as text for people and as JSON; `case_junit` writes JUnit XML."""

import json
from collections.abc import Sequence
from typing import Any

from vtorque_spec.render import Paint, as_json, plain, printable, text
from vtorque_spec.review.cases import Result
from vtorque_spec.review.coverage import Coverage, Line
from vtorque_spec.sources import Sources


def result_text(result: Result, width: int, paint: Paint = plain) -> str:
    """Return one line, and for a surprise all findings below it. `width` is that of the longest name."""
    name = printable(result.case.name)
    if result.surprise is None:
        return f"{name:<{width}}  {paint('passed', 'help')}\n"
    found = text(result.items, Sources(), paint)
    return f"{name:<{width}}  {paint('FAILED', 'error')} {printable(result.surprise)}\n" + (
        f"\n{found}\n" if found else ""
    )


def end_text(results: Sequence[Result], covered: Coverage, paint: Paint = plain) -> str:
    """Return what follows the cases: what none of them has met, and the numbers."""
    surprises = sum(result.surprise is not None for result in results)
    summary = f"{len(results) - surprises} passed, {surprises} failed"
    gap = "" if results[-1].surprise and results[-1].items else "\n"
    return gap + coverage_text(covered) + paint(summary, "error" if surprises else "help") + "\n"


def coverage_text(covered: Coverage) -> str:
    """Return the rules and defaults that no case has met, and how many there are."""
    titles = {"rules that no case has fired": covered.rules, "defaults that no case has got": covered.defaults}
    blocks = []
    for title, lines in titles.items():
        missing = [_line(line) for line in lines if not line.covered]
        if missing:
            blocks.append(f"{title}:\n" + "".join(f"  {line}\n" for line in missing) + "\n")
    numbers = f"rules fired: {_part(covered.rules)}, defaults got: {_part(covered.defaults)}\n"
    return "".join(blocks) + numbers


def _line(line: Line) -> str:
    place = f"{line.span.file}:{line.span.line}:{line.span.column}"
    return printable(f"{place}  {line.text}" + (f" ({line.code})" if line.code else ""))


def _part(lines: Sequence[Line]) -> str:
    return f"{sum(line.covered for line in lines)} of {len(lines)}"


def as_data(results: Sequence[Result], covered: Coverage) -> str:
    """Return one JSON object: `cases`, `rules`, `defaults` and `summary`."""
    failed = sum(result.surprise is not None for result in results)
    data = {
        "cases": [_case_data(result) for result in results],
        "rules": [{**_line_data(line), "code": line.code, "fired": line.covered} for line in covered.rules],
        "defaults": [{**_line_data(line), "got": line.covered} for line in covered.defaults],
        "summary": {"passed": len(results) - failed, "failed": failed},
    }
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace").decode()


def _case_data(result: Result) -> dict[str, Any]:
    return {
        "name": result.case.name,
        "expected": result.case.expected,
        "passed": result.surprise is None,
        "surprise": result.surprise,
        "findings": [as_json.finding(item) for item in result.items],
    }


def _line_data(line: Line) -> dict[str, Any]:
    return {"file": line.span.file, "line": line.span.line, "column": line.span.column, "rule": line.text}
