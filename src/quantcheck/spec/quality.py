"""The quality half of an experiment: which suites, over which data, asked how."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from quantcheck.spec.part import Name, Part

__all__ = ["BUNDLES", "CONTINUATIONS", "SHIPPED", "Continuations", "Quality", "Sampling", "TextSuite"]

CONTINUATIONS = "continuations"
"""What the continuations of an experiment are called among its suites."""

SHIPPED = "shipped"
"""The prompts that ship: beginnings of the reference model's documents."""

BUNDLES: dict[str, tuple[str, ...]] = {
    "quick": ("wikitext2", "arc_easy", "hellaswag"),
    "standard": ("wikitext2", "c4", "gsm8k", "humaneval", "mmlu", "ifeval"),
    "full": ("wikitext2", "c4", "mmlu", "arc_easy", "arc_challenge", "hellaswag", "triviaqa", "gsm8k", "humaneval",
             "mbpp", "ifeval"),
}
"""Names that stand for several suites: `quick` for minutes, `standard` for what a report should hold (two corpora, and
a task each of reasoning, code, knowledge and following instructions), `full` for all that is read from plain files."""

QUICK_ITEMS, QUICK_TOKENS = 200, 32_768
"""Of each task and corpus under `quick`, where the experiment says nothing else."""


class TextSuite(Part):
    """A perplexity suite over the user's own text: one file; JSONL with `text`, or plain text."""

    text: str
    tokens: PositiveInt | None = Field(32_768, description="tokens to score; null: the whole file")


class Sampling(Part):
    """Answers drawn at a temperature instead of the most likely token each time; of tasks whose answers are written."""

    temperature: float = Field(0.7, gt=0, le=10, description="divides the logits; 1 is the model's own distribution")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens that hold this much probability")
    draws: int = Field(4, ge=1, le=256, description="answers per item; 2 tell an item's own spread from the models'")


class Continuations(Part):
    """What every variant writes after the same prompts, greedily: to see outputs side by side. No verdict uses it."""

    prompts: str = Field(SHIPPED, description="JSONL with `prompt` on every line; shipped: beginnings of the "
                                              "reference model's documents")
    items: PositiveInt = Field(40, description="prompts; the file's first ones")
    max_tokens: int = Field(64, ge=1, le=4096, description="tokens to write after each")


class Quality(Part):
    """The quality half: perplexity corpora and tasks, scored on the same token ids for every variant."""

    suites: list[str] = Field(
        [], description="names: suites that ship (reference/arithmetic), tasks and corpora that people know (mmlu, "
                        "gsm8k, wikitext2 ...), lm-eval/NAME for any other task of lm-eval, or quick, standard, full")
    texts: dict[Name, TextSuite] = Field({}, description="further perplexity corpora")
    tasks: dict[Name, str] = Field(
        {}, description="the user's own tasks: JSONL with prompt, answer and, to choose from, choices; or an lm-eval "
                        "definition (.yaml)")
    data: str | None = Field(None, description="folder with the plain files of known tasks and corpora; none: the hub")
    fewshot: NonNegativeInt | dict[str, NonNegativeInt] | None = Field(
        None, description="examples before each question of lm-eval's tasks, for all or by task; none: the task's own")
    chat_template: bool | str = Field(
        False, description="ask lm-eval's tasks in the model's chat template (true), or in that of a file")
    items: PositiveInt | None = Field(None, description="items per task; none: all")
    tokens: PositiveInt | None = Field(None, description="tokens to score of a named corpus; none: all")
    context: int = Field(512, ge=8, description="tokens of the perplexity window")
    stride: int = Field(256, ge=1, description="tokens scored per window (the last ones)")
    divergence: Literal["full", "top-k"] | None = Field(
        None, description="how the baseline's distributions are kept: full, or the 256 likeliest tokens in half "
                          "precision, which makes KL a lower bound; none: full up to 8 GB a corpus. A vLLM server "
                          "tells the 64 likeliest either way")
    stop: Literal["never", "early"] = Field(
        "never", description="early: a variant's task ends when it is shown to be safe or harmed; valid at any look"
    )
    continuations: Continuations | None = Field(
        None, description="greedy continuations of prompts, compared with the baseline's; {}: of those that ship")
    sampling: Sampling | None = Field(None, description="draw answers at a temperature; none: greedy")

    @model_validator(mode="before")
    @classmethod
    def _quick_is_short(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("suites"), list) and "quick" in data["suites"]:
            return {"items": QUICK_ITEMS, "tokens": QUICK_TOKENS, **data}
        return data

    @field_validator("suites")
    @classmethod
    def _expand(cls, names: list[str]) -> list[str]:
        """Bundles become their suites; each name once, where it comes first."""
        return list(dict.fromkeys(suite for name in names for suite in BUNDLES.get(name, (name,))))

    @model_validator(mode="after")
    def _consistent(self) -> "Quality":
        if self.stride >= self.context:
            raise ValueError(f"stride ({self.stride}) must be below context ({self.context})")
        if not self.subjects:
            raise ValueError("quality needs `suites:`, `texts:`, `tasks:` or `continuations:`; or leave it out to "
                             "measure speed")
        twice = sorted({name for name in self.subjects if self.subjects.count(name) > 1})
        if twice:
            raise ValueError(f"two suites are called {', '.join(twice)}; give one another name")
        for name, file in self.tasks.items():
            if not file.endswith((".jsonl", ".yaml", ".yml")):
                raise ValueError(f"tasks.{name}: {file} is neither JSONL (.jsonl) nor a definition of lm-eval (.yaml)")
        if isinstance(self.fewshot, dict) and (unknown := sorted(self.fewshot.keys() - set(self.subjects))):
            raise ValueError(f"fewshot: {', '.join(unknown)} is no task of this experiment")
        return self

    @property
    def subjects(self) -> list[str]:
        """The names of all suites, in order."""
        return [*self.suites, *self.texts, *self.tasks, *([CONTINUATIONS] if self.continuations else [])]

    def shots(self, task: str) -> int | None:
        """Examples before each question of `task`; None: the task's own number."""
        return self.fewshot.get(task) if isinstance(self.fewshot, dict) else self.fewshot
