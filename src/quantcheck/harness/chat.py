"""Chat templates, rendered as Hugging Face's tokenizers do: Jinja in a sandbox, as a template comes from a model."""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from quantcheck.errors import SpecError

__all__ = ["render"]

_DAY = datetime.datetime(2024, 7, 26)
"""The day that a template is always told: with today's, cells of one run would be asked other prompts after midnight.
Llama's templates take this one where they are told none.
"""


def render(
    template: str, messages: Sequence[Mapping[str, str]], tokens: Mapping[str, str], *, add_generation_prompt: bool
) -> str:
    """The prompt that `template` makes of `messages` (each with `role` and `content`).

    `tokens`: the texts of `bos_token` and `eos_token`. Without `add_generation_prompt` the prompt ends within the last
    message, for the model to carry it on. A template that knows no system message is given the others, as in lm-eval's
    `HFLM.apply_chat_template`. Raises `SpecError` when the template fails.
    """
    import jinja2
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    # The options, filters and functions are those that transformers promises to templates.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _DAY.strftime

    def text(of: Sequence[Mapping[str, Any]]) -> str:
        rendered: str = environment.from_string(template).render(
            messages=of, add_generation_prompt=add_generation_prompt, **tokens)
        return rendered

    try:
        try:
            prompt = text(messages)
        except jinja2.TemplateError:
            messages = [message for message in messages if message["role"] != "system"]
            prompt = text(messages)
    except jinja2.TemplateError as error:
        raise SpecError(f"the chat template fails ({error}); give another, or leave `chat_template` out") from error
    if add_generation_prompt:
        return prompt
    last = messages[-1]["content"]
    start = prompt.rfind(last.strip())
    if start < 0:
        raise SpecError("the chat template does not show the last message as it is; give another")
    return prompt[: start + len(last.strip())] if not prompt[start:].startswith(last) else prompt[: start + len(last)]
