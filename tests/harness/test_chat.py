import pytest

from quantcheck.errors import SpecError
from quantcheck.harness.chat import render

pytest.importorskip("jinja2", reason="the extra quantcheck[eval] is not installed")

PLAIN = (
    "{{ bos_token }}{% for message in messages %}\n<{{ message.role }}>{{ message.content | trim }}{{ eos_token }}"
    "{% endfor %}\n{% if add_generation_prompt %}<assistant>{% endif %}"
)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
ASKED = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who? "}]


def test_the_prompt_ends_where_the_model_begins() -> None:
    prompt = render(PLAIN, ASKED, TOKENS, add_generation_prompt=True)
    assert prompt == "<s><system>Be short.</s><user>Who?</s><assistant>"


def test_a_begun_answer_is_carried_on() -> None:
    prompt = render(PLAIN, [*ASKED, {"role": "assistant", "content": "It is "}], TOKENS, add_generation_prompt=False)
    assert prompt == "<s><system>Be short.</s><user>Who?</s><assistant>It is"


def test_a_template_that_writes_the_day_asks_the_same_on_every_day() -> None:
    dated = "Today: {{ strftime_now('%d %b %Y') }}" + PLAIN
    assert render(dated, ASKED, TOKENS, add_generation_prompt=True).startswith("Today: 26 Jul 2024<s>")


def test_a_template_without_system_messages_gets_the_others() -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
    assert render(strict, ASKED, TOKENS, add_generation_prompt=True) == "<s><user>Who?</s><assistant>"


@pytest.mark.parametrize("template", ["{{ raise_exception('never') }}", "{% if %}", "{{ ''.__class__.__mro__ }}"])
def test_a_template_that_fails_is_an_error_of_one_line(template: str) -> None:
    with pytest.raises(SpecError, match="the chat template fails"):
        render(template, ASKED, TOKENS, add_generation_prompt=True)
