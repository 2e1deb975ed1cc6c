"""A policy's file: read with the same care as an experiment."""

from pathlib import Path

import pytest

from quantcheck.errors import SpecError
from quantcheck.spec.document import read_policy
from quantcheck.spec.policy import Policy, Price

WHOLE = """\
margin:
  accuracy_pp: 0.5
  tasks: {reference/format: 3}
slo: {ttft_ms: 500, share: 0.9}
price: {gpu_hour_usd: 3.5, gpus: {F16: 2}}
maximum_usd: 0.3
memory_gb: 24
minimum_speedup: 1.2
amortise_tokens: 1e8
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    return file


def test_a_whole_policy(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, WHOLE.replace("1e8", "100000000.0")))
    assert policy.margin.accuracy("reference/format") == 0.03
    assert policy.margin.accuracy("reference/arithmetic") == 0.005
    assert policy.price is not None
    assert (policy.price.hour_usd("F16"), policy.price.hour_usd("Q4_K_M")) == (7.0, 3.5)
    assert Policy.model_validate(policy.model_dump()) == policy


def test_the_policy_that_the_docs_show(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")
    shown = page.split("## The policy")[1].split("```yaml\n")[1].split("```")[0]
    policy = read_policy(written(tmp_path, shown))
    assert policy.model_fields_set == {"margin", "slo", "memory_gb", "minimum_speedup", "price", "maximum_usd"}


@pytest.mark.parametrize(("text", "message"), [
    ("memory: 24\n", ":1: unknown key 'memory'; did you mean 'memory_gb'?"),
    ("margin: {acuracy_pp: 1}\n", ":1: unknown key 'margin.acuracy_pp'; did you mean 'accuracy_pp'?"),
    ("memory_gb: 2\nminimum_speedup: -1\n", ":2: minimum_speedup: input should be greater than 0"),
    ("price: {}\n", ":1: 'price.gpu_hour_usd' is missing; add it"),
    ("memory_gb: 2\nmemory_gb: 3\n", ":2: 'memory_gb' is given twice"),
    ("maximum_usd: 1\n", ":1: maximum_usd is a cost, and a cost needs `price: {gpu_hour_usd: ...}`; add it"),
    ("policy: {memory_gb: 2}\n", ":1: a policy's file has no `policy:` around its keys"),
    ("- 1\n", "a policy is a mapping"),
    ("", "a policy is a mapping"),
    ("a: [\n", "not valid YAML"),
])  # fmt: skip
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        read_policy(written(tmp_path, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_policy(tmp_path / "none.yaml")


def test_a_cost_without_a_price_is_refused() -> None:
    with pytest.raises(ValueError, match="needs `price:"):
        Policy(maximum_usd=1.0)
    assert Policy(maximum_usd=1.0, price=Price(gpu_hour_usd=1.0)).maximum_usd == 1.0
