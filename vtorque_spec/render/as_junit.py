"""Findings as JUnit XML, as test runners write it: every checked file is a test case.

A file's errors are its `failure` elements. Its warnings stand in its `system-out`, because a warning fails nothing.
Format: the schema of Jenkins' xunit plugin (junit-10.xsd), which GitLab's and others' readers agree with.
"""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from vtorque_spec.diagnostics import Diagnostic, Severity
from vtorque_spec.fingerprint import relative
from vtorque_spec.render import plainly, printable

NO_FILE = "vtorque"
"""The test case of the findings without a place."""


def suite(items: Sequence[Diagnostic], files: Iterable[str]) -> str:
    """Return one suite with a case for each of `files` and each other file that a finding names, such as the policy."""
    cases: dict[str, list[Diagnostic]] = {relative(file): [] for file in files}
    for item in items:
        cases.setdefault(relative(item.span.file) if item.span else NO_FILE, []).append(item)
    return document("vtorque", [_case(name, found) for name, found in cases.items()])


def document(name: str, cases: Sequence[Element], output: str = "") -> str:
    """Return one suite of these `testcase` elements; `output` is what the suite as a whole has to say."""
    failed = sum(case.find("failure") is not None for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failed), "errors": "0"}
    root = Element("testsuites", {"name": "vtorque", **counts})
    element = SubElement(root, "testsuite", {"name": name, **counts, "skipped": "0"})
    element.extend(cases)
    if output:
        SubElement(element, "system-out").text = output
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _case(name: str, found: Iterable[Diagnostic]) -> Element:
    case = Element("testcase", {"name": printable(name), "classname": "vtorque"})
    warnings = []
    for item in found:
        if item.severity is Severity.WARNING:
            warnings.append(finding(item))
        else:
            first, *_ = plainly(item)
            SubElement(case, "failure", {"type": item.id, "message": first}).text = finding(item)
    if warnings:
        SubElement(case, "system-out").text = "\n\n".join(warnings)
    return case


def finding(item: Diagnostic) -> str:
    """Return one finding as text, with its place."""
    place = f"{printable(item.span.file)}:{item.span.line}:{item.span.column}: " if item.span else ""
    return f"{place}{item.severity.value}[{item.id}]: " + "\n".join(plainly(item))
