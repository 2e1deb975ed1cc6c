"""The tasks that can be answered from plain files: which of lm-eval's definitions each is, and how it is judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["NAMED", "Named"]


@dataclass(frozen=True, slots=True)
class Named:
    """`definition`: lm-eval's YAML file in its folder of tasks, with a `{subject}` where there is one for each.

    `dataset`: the name in `quantcheck.tasks`. `metric` and `filter`: which of lm-eval's scores says whether an answer
    is right; the other scores are kept beside it. `shots`: the split of the data set that examples come from, and
    `needs`: a resource of NLTK without which the judge does not work. `items`: how many the hub's data set has.
    """

    definition: str
    dataset: str
    metric: str
    items: int
    filter: str = "none"
    shots: str | None = None
    judge: Literal["lm-eval", "sandbox"] = "lm-eval"
    needs: str | None = None


NAMED: Mapping[str, Named] = {
    "mmlu": Named("mmlu/default/mmlu_{subject}.yaml", "mmlu", "acc", 14_042, shots="dev"),
    "arc_easy": Named("arc/arc_easy.yaml", "arc_easy", "acc", 2376),
    "arc_challenge": Named("arc/arc_challenge.yaml", "arc_challenge", "acc_norm", 1172),
    "hellaswag": Named("hellaswag/hellaswag.yaml", "hellaswag", "acc_norm", 10_042),
    "gsm8k": Named("gsm8k/gsm8k.yaml", "gsm8k", "exact_match", 1319, "strict-match", shots="train"),
    "gsm8k_cot": Named("gsm8k/gsm8k-cot.yaml", "gsm8k", "exact_match", 1319, "strict-match", shots="train"),
    "triviaqa": Named("triviaqa/default.yaml", "triviaqa", "exact_match", 17_944, "remove_whitespace"),
    "ifeval": Named("ifeval/ifeval.yaml", "ifeval", "prompt_level_strict_acc", 541, needs="tokenizers/punkt_tab"),
    "humaneval": Named("humaneval/humaneval.yaml", "humaneval", "pass@1", 164, judge="sandbox"),
    "mbpp": Named("mbpp/mbpp.yaml", "mbpp", "pass@1", 500, shots="prompt", judge="sandbox"),
}
