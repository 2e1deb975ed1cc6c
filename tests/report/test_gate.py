"""The gate's word, its lines, and the XML and JSON that CI reads."""

import json
from xml.etree import ElementTree

import jsonschema
import pytest

from quantcheck.errors import SpecError
from quantcheck.report.gate import GateResult, gate_lines, judge_gate
from quantcheck.report.junit import junit_xml
from quantcheck.report.schema import gate_schema
from quantcheck.report.summary import Condition, DecisionRow, DecisionWord, Summary
from quantcheck.report.view import build_summary
from tests.report import synthetic

CELLS = synthetic.cells()


def build(**policy: object) -> Summary:
    return build_summary(synthetic.experiment(policy=policy), CELLS, synthetic.artifacts(), synthetic.ENVIRONMENT, [])


PLAIN = build()


def with_words(*words: DecisionWord) -> Summary:
    """The plain summary with the variants' words changed and nothing recommended."""
    rows = [row.model_copy(update={"word": word}) for row, word in zip(PLAIN.decisions, words, strict=True)]
    nothing = PLAIN.recommendation.model_copy(update={"variant": None})
    return PLAIN.model_copy(update={"decisions": rows, "recommendation": nothing})


def test_one_that_may_ship_is_enough_and_the_recommended_one_is_named() -> None:
    result = judge_gate(PLAIN)
    assert (result.word, result.exit_code, result.variant) == ("ship", 0, "Q4_K_M")
    assert [row.variant for row in result.decisions] == ["Q4_K_M"]


@pytest.mark.parametrize(("words", "word", "code", "variant"), [
    (("ship", "inconclusive", "do not ship"), "ship", 0, "Q8_0"),
    (("ship", "do not ship", "ship"), "ship", 0, "Q2_K"),  # the smallest of those that may
    (("inconclusive", "do not ship", "do not ship"), "inconclusive", 2, None),
    (("inconclusive", "inconclusive", "inconclusive"), "inconclusive", 2, None),
    (("do not ship", "do not ship", "do not ship"), "do not ship", 1, None),
])  # fmt: skip
def test_the_word_for_all(words: tuple[DecisionWord, ...], word: str, code: int, variant: str | None) -> None:
    result = judge_gate(with_words(*words))
    assert (result.word, result.exit_code, result.variant) == (word, code, variant)
    assert len(result.decisions) == (1 if variant else 3)
    assert gate_lines(result)[0] == (f"{variant}: {word}" if variant else f"{word}: no variant may ship")


@pytest.mark.parametrize(("name", "word", "code"), [("Q8_0", "ship", 0), ("Q2_K", "do not ship", 1)])
def test_a_variant_by_name(name: str, word: str, code: int) -> None:
    result = judge_gate(PLAIN, name)
    assert (result.word, result.exit_code, result.variant) == (word, code, name)
    assert result.sentence == result.decisions[0].sentence


@pytest.mark.parametrize("name", ["F16", "Q5_K_M"])
def test_what_is_no_variant_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=f"--variant {name}: .*; give one of: Q8_0, Q4_K_M, Q2_K"):
        judge_gate(PLAIN, name)


def test_no_variant_at_all_is_inconclusive() -> None:
    result = judge_gate(PLAIN.model_copy(update={"decisions": []}))
    assert (result.word, result.variant) == ("inconclusive", None)


def test_every_condition_is_a_line() -> None:
    result = judge_gate(build(memory_gb=0.076, minimum_speedup=1.44), "Q4_K_M")
    lines = gate_lines(result)
    assert lines[0] == "Q4_K_M: inconclusive"
    assert "  met      memory: memory at most 0.076 GB; 0.0753 GB proportional under load" in lines
    assert any(line.startswith("  open     speed: output throughput at least 1.44x; faster: ") for line in lines)
    assert len(lines) == 2 + len(result.decisions[0].conditions)


def test_junit_has_a_test_case_per_condition() -> None:
    result = judge_gate(build(memory_gb=0.074, minimum_speedup=1.44), "Q4_K_M")
    root = ElementTree.fromstring(junit_xml(result).encode())
    suite = root.find("testsuite")
    assert suite is not None
    assert root.tag == "testsuites"
    conditions = result.decisions[0].conditions
    assert [case.get("name") for case in suite.iter("testcase")] == [c.key for c in conditions]
    shown = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    wanted = {"met": [], "not met": ["failure"], "open": ["error"]}
    assert shown == {c.key: wanted[c.state] for c in conditions}
    assert {"failure"} <= {tag for tags in shown.values() for tag in tags}
    for element in (root, suite):
        assert element.get("tests") == str(len(conditions))
        assert element.get("failures") == str(sum(c.state == "not met" for c in conditions))
        assert element.get("errors") == str(sum(c.state == "open" for c in conditions))
    failure = next(suite.iter("failure"))
    assert failure.get("message") == "memory at most 0.074 GB; found: 0.0753 GB proportional under load"


def test_junit_holds_whatever_an_engine_said() -> None:
    said = '"\x1b[31m\x00 \ud800 </failure>]]>'
    nasty = Condition(key="quality", asks="a < b & c", found=said, state="open", source="/x")
    row = DecisionRow(variant="Q2_K", word="inconclusive", sentence="\x07.", clauses=[], conditions=[nasty])
    result = judge_gate(PLAIN, "Q2_K").model_copy(update={"decisions": [row]})
    case = ElementTree.fromstring(junit_xml(result).encode()).find("testsuite/testcase/error")
    assert case is not None
    assert case.get("message") == 'a < b & c; found: "?[31m? ? </failure>]]>'


def test_the_json_fits_its_schema_and_comes_back() -> None:
    result = judge_gate(build(memory_gb=0.076), policy="p.yaml")
    document = json.loads(result.model_dump_json())
    jsonschema.validate(document, gate_schema(), cls=jsonschema.Draft202012Validator)
    assert document["schema_version"] == 1
    for row in document["decisions"]:
        for part in (*row["clauses"], *row["conditions"]):
            assert document["sources"][part["source"]] not in (None, {}, [])
    assert document["sources"]["/memory/2/pss_bytes"]["value"] == 5_300_000 + 70e6
    assert GateResult.model_validate(document) == result
