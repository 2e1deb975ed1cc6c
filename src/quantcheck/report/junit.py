"""A gate's result as JUnit XML: a suite per variant, a test case per condition.

A condition that is not met is a failure. One that is open is an error, so that no CI shows it as passed.
"""

import re
from xml.etree import ElementTree

from quantcheck.report.gate import GateResult
from quantcheck.report.summary import Condition, DecisionRow

__all__ = ["junit_xml"]

FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not; an engine's error message may."""


def junit_xml(result: GateResult) -> str:
    """The XML document, ending with a newline."""
    root = ElementTree.Element("testsuites", name=f"quantcheck gate {result.experiment}")
    for row in result.decisions:
        root.append(_suite(row, result.baseline))
    _count(root, [condition for row in result.decisions for condition in row.conditions])
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(row: DecisionRow, baseline: str) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=_clean(f"{row.variant} against {baseline}"))
    _count(suite, row.conditions)
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="decision", value=row.word)
    for condition in row.conditions:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_clean(f"quantcheck.{row.variant}"), name=_clean(condition.key), time="0"
        )
        if condition.state != "met":
            kind = "failure" if condition.state == "not met" else "error"
            message = _clean(f"{condition.asks}; found: {condition.found}")
            child = ElementTree.SubElement(case, kind, message=message, type=condition.state)
            child.text = _clean(f"{message}\nsource: {condition.source}")
    ElementTree.SubElement(suite, "system-out").text = _clean(row.sentence)
    return suite


def _count(element: ElementTree.Element, conditions: list[Condition]) -> None:
    states = [condition.state for condition in conditions]
    element.set("tests", str(len(states)))
    element.set("failures", str(states.count("not met")))
    element.set("errors", str(states.count("open")))
    element.set("skipped", "0")
    element.set("time", "0")


def _clean(text: str) -> str:
    return FORBIDDEN.sub("?", text)
