"""Writes docs/choosing-a-format.md: every figure comes from a stored run's summary.json."""
# ruff: noqa: E501  (sentences)

from pathlib import Path

from quantcheck.report.view import Summary

__all__ = ["page"]

RUNS = ("reference", "gguf-ladder", "reference-vllm-h100", "reference-vllm-h200", "reference-vllm-awq-h200",
        "vllm-awq-18-h200", "vllm-awq-18-h100", "format-race-h200", "format-race-gptq-h200", "70b-one-gpu-or-two-h200",
        "transformers-formats-h200", "transformers-reference-quality", "transformers-reference-h200")
HEAD = """# Choosing a format

What our own stored runs say, and no more. A format is chosen by measuring your model on your hardware; the runs below show
how such a measurement reads and which questions it must answer. Each figure is taken from the run's `summary.json`
when this page is written.

1. **Set a margin first**: how much loss does not matter to you. `safe` means less than that, and nothing else.
2. **Look at quality by task.** One variant can be safe on a task and harmed on another.
3. **Look at speed at your load.** The same variant can gain at one stream and not at 32.
4. **Look at memory where it binds**: the file, the process and the GPU's footprint are three figures.
5. **Take the smallest variant that is safe on all tasks and fast enough**; where a word is `inconclusive`, measure more.

`quantcheck run` with a preset or your own experiment does this; [methodology](methodology.md) says how words come about.
"""
CAVEATS = {
    "reference": "The reference model is tiny, and ran on a shared CPU. Its damage and its speed say nothing about a "
                 "large model.",
    "gguf-ladder": "The same small model, on llama.cpp compiled for the machine: 4 bits and fewer cost it far more than they "
                   "cost a model of billions.",
    "reference-vllm-h100": "The same small model, through vLLM on one H100. Quality alone.",
    "reference-vllm-h200": "The same small model on an H200: quality but for AWQ, and speed, which says nothing of larger ones.",
    "format-race-h200": "Mistral-7B's shape with random weights: speed and size alone, on two H200s.",
    "format-race-gptq-h200": "The same shape on another H200: GPTQ, which the run above lacks.",
    "transformers-formats-h200": "Qwen2.5-0.5B's shape with random weights in the transformers library, one prompt at a time: "
                                 "starting kernels is what takes the time.",
    "transformers-reference-quality": "The small reference model in the transformers library: quality alone, on a CPU.",
    "transformers-reference-h200": "The same formats of the same model on an H200: speed alone, of layers so small that "
                                   "starting kernels is what takes the time.",
    "reference-vllm-awq-h200": "AWQ's quality of the same small model on an H200, which the run above lacks.",
    "70b-one-gpu-or-two-h200": "Llama-2-70B's shape with random weights: FP16 on two H200s, the others on one; speed, size and "
                               "cost alone.",
    "vllm-awq-18-h200": "Mistral-7B's shape with random weights: speed and size alone, on one H200.",
    "vllm-awq-18-h100": "Mistral-7B's shape with random weights: speed and size alone, on one H100 whose host did other "
                        "work.",
}


def page(note: str, results: Path) -> str:
    """The whole page; `note` stands first, `results` is the folder of the stored runs."""
    return "\n".join([note, HEAD, *(_run(results / name) for name in RUNS)])


def _run(folder: Path) -> str:
    summary = Summary.model_validate_json((folder / "summary.json").read_text(encoding="utf-8"))
    about = f"{summary.experiment.model} on {summary.experiment.engine}"
    rows = []
    for row in summary.variants:
        if row.baseline:
            continue
        tasks = "; ".join(f"{task.task.removeprefix('reference/')} {_points(task.delta)}: {task.word or 'n/a'}"
                          for task in summary.quality if task.variant == row.name)
        rows.append(f"| {row.name} | {_times(row.size.ratio)} | {tasks or 'n/a'} | {_times(row.perplexity_ratio, 3)} | "
                    f"{_loads(summary, row.name)} |")
    return (f"## {folder.name}\n\n{about}. {CAVEATS[folder.name]} "
            f"[The run](results/{folder.name}/comparison.md).\n\n> {summary.headline.sentence}\n\n"
            "| variant | size | change of accuracy by task (95%) | perplexity | output throughput by load (95%) |\n"
            "|---|---|---|---|---|\n" + "\n".join(rows) + f"\n\n{summary.recommendation.sentence}\n\nWhat the run warns of:\n\n"
            + "".join(f"- {row.text}\n" for row in summary.warnings))


def _loads(summary: Summary, variant: str) -> str:
    found = [f"{row.load} {_times(row.ratio)}: {row.word or 'n/a'}" for row in summary.speed
             if row.variant == variant and row.metric == "output_throughput" and row.ratio.value is not None]
    return "; ".join(found) or "n/a"


def _times(figure: object, digits: int = 2) -> str:
    value, low, high = (getattr(figure, key) for key in ("value", "low", "high"))
    if value is None:
        return "n/a"
    return f"{value:.{digits}f}x" + ("" if low is None else f" ({low:.{digits}f} to {high:.{digits}f})")


def _points(figure: object) -> str:
    value, low, high = (getattr(figure, key) for key in ("value", "low", "high"))
    if value is None:
        return "n/a"
    return f"{100 * value:+.1f} pp" + ("" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})")
