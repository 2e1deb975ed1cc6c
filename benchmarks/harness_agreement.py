"""lm-eval's own `hf` model against ours, item by item, on the reference model.

    python benchmarks/harness_agreement.py DATA [--items 200] [--over llama.cpp] [TASK ...]

DATA is a folder of plain files (`quantcheck.tasks`). Needs `quantcheck[eval]`, torch and transformers. `hf` computes in
float32 on the CPU. Ours answers over llama.cpp from the F16 GGUF file, or with `--over torch` over the same library as
`hf`, one sequence at a time on both sides: what differs then is the harness and not the engine.

Printed for each task: items, log-likelihoods, the greatest difference of one and of one divided by its tokens, the
share of items with the same decision (likeliest choice, or text as judged), with the same scores, and the times.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from quantcheck import reference
from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.scorer import Answerer, IntArray, LogLikelihood, Seeded
from quantcheck.harness import FolderTokens, Record, answer
from quantcheck.harness.library import need
from quantcheck.harness.run import answer_with
from quantcheck.spec.experiment import Variant
from quantcheck.variants.make import prepare

TASKS = ("mmlu", "arc_easy", "arc_challenge", "hellaswag", "gsm8k", "triviaqa")
CONTEXT = 512


class Counting:
    """An answerer that remembers how many tokens each continuation had."""

    def __init__(self, answerer: Answerer) -> None:
        self.inner, self.vocab_size, self.lengths = answerer, answerer.vocab_size, list[int]()

    def loglikelihoods(self, pairs: Sequence[tuple[IntArray, IntArray]]) -> list[LogLikelihood]:
        self.lengths += [len(continuation) for _, continuation in pairs]
        return self.inner.loglikelihoods(pairs)

    def generate(self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int],
                 sampling: Seeded | None = None) -> list[IntArray]:
        return self.inner.generate(prompts, max_tokens, stop, sampling)

    def close(self) -> None:
        self.inner.close()


class Torch:
    """The library that `hf` uses, asked for one sequence at a time."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.vocab_size = self.model.config.vocab_size

    def loglikelihoods(self, pairs: Sequence[tuple[IntArray, IntArray]]) -> list[LogLikelihood]:
        found = []
        for context, continuation in pairs:
            ids = self.torch.tensor(np.concatenate([context, continuation])[None, :-1], dtype=self.torch.long)
            with self.torch.no_grad():
                rows = self.model(ids).logits[0, -len(continuation):].log_softmax(-1)
            picked = self.torch.tensor(continuation.astype(np.int64))
            own = rows.gather(1, picked[:, None])
            found.append(LogLikelihood(float(own.sum()), bool((rows.argmax(1) == picked).all())))
        return found

    def generate(self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int],
                 sampling: Seeded | None = None) -> list[IntArray]:
        found = []
        for prompt in prompts:
            ids = self.torch.tensor(prompt[None], dtype=self.torch.long)
            all_ids = self.model.generate(ids, attention_mask=self.torch.ones_like(ids), max_new_tokens=max_tokens,
                                          do_sample=False, eos_token_id=sorted(stop), pad_token_id=min(stop))
            written = all_ids[0, len(prompt):].numpy().astype(np.int32)
            found.append(written[:-1] if len(written) and int(written[-1]) in stop else written)
        return found

    def close(self) -> None:
        """Nothing is held."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--over", choices=("llama.cpp", "torch"), default="llama.cpp")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    need()
    with opened(arguments) as answerer:
        ours = {name: ask_ours(answerer, name, arguments) for name in arguments.tasks}
    theirs = ask_theirs(arguments)
    print(f"ours over {arguments.over}, {arguments.threads} threads, at most {arguments.items} items of a task")
    print(f"{'task':<14}{'items':>6}{'lls':>6}{'max |d ll|':>12}{'per token':>11}{'same decision':>15}"
          f"{'same scores':>13}{'hf s':>8}{'ours s':>8}")
    for name, (records, lengths, seconds) in ours.items():
        show(name, theirs[name][0], records, lengths, theirs[name][1], seconds)


@contextlib.contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Answerer]:
    if arguments.over == "torch":
        yield Torch(reference.model_dir())
        return
    with tempfile.TemporaryDirectory() as cache:
        made = prepare("reference", {"F16": Variant(scheme="gguf/F16")}, cache=Path(cache), threads=arguments.threads)
        with LlamaCppScorer(made["F16"].path, threads=arguments.threads, context=CONTEXT) as scorer:
            yield scorer


def ask_ours(
    answerer: Answerer, name: str, arguments: argparse.Namespace
) -> tuple[Sequence[Record], Sequence[int], float]:
    started = time.monotonic()
    counting = Counting(answerer)
    (result,) = answer(counting, FolderTokens(reference.model_dir()), [name], context=CONTEXT, data=arguments.data,
                       limit=arguments.items)
    return result.records, counting.lengths, time.monotonic() - started


def ask_theirs(arguments: argparse.Namespace) -> dict[str, tuple[Sequence[Record], float]]:
    import torch
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(arguments.threads)
    found = {}
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        model = HFLM(pretrained=str(reference.model_dir()), device="cpu", dtype="float32",
                     batch_size=1 if arguments.over == "torch" else 16)
        for name in arguments.tasks:
            started = time.monotonic()
            result = answer_with(model, name, data=arguments.data, limit=arguments.items)
            found[name] = result.records, time.monotonic() - started
    return found


def show(name: str, theirs: Sequence[Record], ours: Sequence[Record], lengths: Sequence[int], theirs_s: float,
         ours_s: float) -> None:
    pairs = list(zip(theirs, ours, strict=True))
    for a, b in pairs:
        if (a.id, a.doc_hash, a.prompt_hash, a.target_hash) != (b.id, b.doc_hash, b.prompt_hash, b.target_hash):
            raise SystemExit(f"{name}, {a.id}: the two were asked different things")
    apart = np.array([abs(x - y) for a, b in pairs for x, y in zip(a.logprobs, b.logprobs, strict=True)])
    most, by_token = (f"{apart.max():.1e}", f"{(apart / lengths).max():.1e}") if len(apart) else ("-", "-")
    same = sum(a.answer == b.answer for a, b in pairs) / len(pairs)
    scores = sum(a.scores == b.scores for a, b in pairs) / len(pairs)
    print(f"{name:<14}{len(pairs):>6}{len(apart):>6}{most:>12}{by_token:>11}{same:>15.4f}{scores:>13.4f}"
          f"{theirs_s:>8.1f}{ours_s:>8.1f}")


if __name__ == "__main__":
    main()
