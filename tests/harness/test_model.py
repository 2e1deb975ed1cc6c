"""What lm-eval asks and what the engine is asked, compared token by token."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcheck.engines.scorer import LOOK
from quantcheck.errors import ModelError, SpecError
from tests.harness.byte_model import EOT, MARK, ByteModel, ByteTokens

pytest.importorskip("lm_eval", reason="the extra quantcheck[eval] is not installed")

from lm_eval.api.instance import Instance

from quantcheck.harness import model as module
from quantcheck.harness.model import AnswererModel

texts = st.text(alphabet=" ab\n.é", max_size=30)
filled = st.text(alphabet=" ab\n.é", min_size=1, max_size=30)
many = settings(max_examples=200, deadline=None)


def requests(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, each, 0, ("task", place, 1)) for place, each in enumerate(arguments)]


def model(answerer: ByteModel, max_length: int = 1000, bos: bool = False, **options: Any) -> AnswererModel:
    return AnswererModel(answerer, ByteTokens(bos), max_length, **options)


@many
@given(context=filled.filter(str.strip), continuation=filled, bos=st.booleans(), max_length=st.integers(90, 200))
def test_nothing_is_lost_between_context_and_continuation(
    context: str, continuation: str, bos: bool, max_length: int
) -> None:
    answerer = ByteModel()
    ((logprob, _),) = model(answerer, max_length, bos).loglikelihood(
        requests("loglikelihood", (context, continuation)))
    whole = ([EOT] if bos else []) + list((context + continuation).encode())
    assert answerer.asked == [whole[-(max_length + 1):]]
    # trailing spaces belong to the continuation, whose log-likelihood is asked for
    scored = list((context[len(context.rstrip()):] + continuation).encode())
    before = whole[-len(scored) - 1 : -1]
    assert logprob == pytest.approx(answerer.logprobs[before, scored].sum())


@pytest.mark.parametrize(("length", "kept"), [(8, 9), (7, 8), (5, 6)])
def test_a_long_context_loses_its_beginning(length: int, kept: int) -> None:
    answerer = ByteModel()
    model(answerer, length).loglikelihood(requests("loglikelihood", ("abcdefgh", " cat.")))
    assert answerer.asked == [list(b"abcdefgh cat."[-kept:])]


def test_without_context_the_prefix_token_stands_first() -> None:
    answerer = ByteModel()
    model(answerer, bos=True).loglikelihood(requests("loglikelihood", ("", "ab"), ("", MARK + "ab")))
    assert answerer.asked == [[EOT, 97, 98]] * 2


def test_a_written_bos_is_not_doubled() -> None:
    answerer = ByteModel()
    model(answerer, bos=True).loglikelihood(requests("loglikelihood", (MARK + "a", "b"), ("a", "b")))
    assert answerer.asked == [[EOT, 97, 98]] * 2


def test_answers_come_in_order_with_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    told: list[tuple[int, int]] = []
    answerer = ByteModel()
    asked = requests("loglikelihood", *(("a" * (1 + place % 4), chr(97 + place)) for place in range(8)))
    found = model(answerer, progress=lambda done, of: told.append((done, of))).loglikelihood(asked)
    row = answerer.logprobs[97]
    assert found == [(row[97 + place], row.argmax() == 97 + place) for place in range(8)]
    assert told == [(3, 8), (6, 8), (8, 8)]


def test_greedy_is_told() -> None:
    answerer = ByteModel()
    best = answerer.next(97)
    second = answerer.next(best)
    found = model(answerer).loglikelihood(requests(
        "loglikelihood", ("a", bytes([best, second]).decode()), ("a", bytes([best, second ^ 1]).decode())))
    assert [greedy for _, greedy in found] == [True, False]


def test_a_continuation_without_tokens_is_refused() -> None:
    class Merging(ByteTokens):
        def encode(self, text: str, *, bos: bool) -> Any:
            return super().encode(text, bos=bos)[:1]

    with pytest.raises(ModelError, match="no token of its own"):
        AnswererModel(ByteModel(), Merging(), 9).loglikelihood(requests("loglikelihood", ("ab", "c")))


def test_a_continuation_longer_than_the_context_is_refused() -> None:
    with pytest.raises(SpecError, match="has 6 tokens, the context holds 5"):
        model(ByteModel(), 5).loglikelihood(requests("loglikelihood", ("a", "bbbbbb")))


@many
@given(text=texts, max_length=st.integers(1, 12), bos=st.booleans())
def test_rolling_predicts_each_token_once(text: str, max_length: int, bos: bool) -> None:
    answerer = ByteModel()
    other = requests("loglikelihood_rolling", (text,), ("ab",))
    found, second = model(answerer, max_length, bos).loglikelihood_rolling(other)
    whole = ([EOT] if bos else []) + list(text.encode())
    assert found == pytest.approx(answerer.logprobs[[EOT, *whole][:-1], whole].sum())
    assert all(len(asked) <= max_length + 1 for asked in answerer.asked)
    assert second == pytest.approx(model(answerer, 5, bos).loglikelihood_rolling(other[1:])[0])


@many
@given(seed=st.integers(0, 40), prompt=filled, max_tokens=st.integers(1, 300),
       until=st.lists(st.text(alphabet=" \n.,abc0123456789#", min_size=1, max_size=3), max_size=3))
def test_an_answer_ends_before_the_first_stop_string(
    seed: int, prompt: str, max_tokens: int, until: list[str]
) -> None:
    answerer = ByteModel(seed)
    (found,) = model(answerer).generate_until(requests(
        "generate_until", (prompt, {"until": until, "max_gen_toks": max_tokens, "do_sample": False})))
    written: list[int] = []
    token = answerer.next(prompt.encode()[-1])
    while len(written) < max_tokens and token != EOT:
        written.append(token)
        token = answerer.next(token)
    text = bytes(written).decode("utf-8", "replace")
    assert found == text[: min([text.find(stop) for stop in until if stop in text], default=len(text))]


def test_an_answer_ends_soon_after_its_stop_string_and_is_cut_there() -> None:
    class Watched(ByteModel):
        def generate(self, *rest: Any, **named: Any) -> Any:
            self.found = super().generate(*rest, **named)
            return self.found

    answerer = Watched(3)
    (whole,) = model(answerer).generate_until(requests("generate_until", ("a", {"until": [], "max_gen_toks": 200})))
    stop = whole[20:22]
    (found,) = model(answerer).generate_until(requests("generate_until", ("a", {"until": [stop], "max_gen_toks": 200})))
    assert found == whole[: whole.find(stop)]
    assert len(answerer.found[0]) == -(-(whole.find(stop) + 2) // LOOK) * LOOK < len(whole)


def test_a_prompt_leaves_room_for_its_answer() -> None:
    answerer = ByteModel()
    told: list[tuple[int, int]] = []
    model(answerer, 10, progress=lambda done, of: told.append((done, of))).generate_until(requests(
        "generate_until", ("abcdefgh", {"until": ["\n"], "max_gen_toks": 6}), ("abcdefgh", {"max_gen_toks": 8})))
    assert answerer.asked == [list(b"efgh"), list(b"gh")]
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"do_sample": True, "temperature": 0.5}, "draws its answers"),
    ({"max_gen_toks": 10}, "10 tokens do not fit the context of 10"),
])
def test_what_cannot_be_written_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        model(ByteModel(), 10).generate_until(requests("generate_until", ("a", arguments)))


def test_a_chat_template_is_rendered_with_the_models_tokens() -> None:
    asked = [{"role": "user", "content": "Who?"}]
    template = "{{ bos_token }}{{ messages[0].content }}{% if add_generation_prompt %}:{% endif %}"
    assert model(ByteModel(), chat_template=template).apply_chat_template(asked) == f"{MARK}Who?:"
    with pytest.raises(SpecError, match="no chat template"):
        model(ByteModel()).apply_chat_template(asked)


def test_token_ids_are_integers_of_32_bits() -> None:
    class Checking(ByteModel):
        def generate(self, prompts: Any, *rest: Any, **named: Any) -> Any:
            assert all(prompt.dtype == np.int32 for prompt in prompts)
            return super().generate(prompts, *rest, **named)

    model(Checking()).generate_until(requests("generate_until", ("a" * 40, {"until": ["zz"]})))
