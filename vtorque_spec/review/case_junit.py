"""What became of a policy's cases, as JUnit XML."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement

from vtorque_spec.render import as_junit, printable
from vtorque_spec.review.case_report import coverage_text
from vtorque_spec.review.cases import FOLDER, Result
from vtorque_spec.review.coverage import Coverage


def as_xml(results: Sequence[Result], covered: Coverage) -> str:
    """Return a JUnit suite with a test case for each; coverage is its output. Format: see render.as_junit."""
    return as_junit.document(FOLDER, [_element(result) for result in results], coverage_text(covered))


def _element(result: Result) -> Element:
    element = Element("testcase", {"name": printable(result.case.name), "classname": FOLDER})
    if result.surprise is not None:
        found = "\n\n".join(map(as_junit.finding, result.items))
        SubElement(element, "failure", {"type": "surprise", "message": printable(result.surprise)}).text = found
    return element
