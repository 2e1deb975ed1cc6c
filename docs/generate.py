"""Write the generated pages of docs/ (the command line, the metrics, the JSON Schemas), what the README shows of stored
runs, and the presets' matrices.

    python docs/generate.py

A test checks that what is committed is what this writes.
"""

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import click

from quantcheck import presets
from quantcheck.cli import _VERBS, _cli
from quantcheck.metrics import METRICS
from quantcheck.report.markdown import render as render_markdown
from quantcheck.report.row import Figure
from quantcheck.report.schema import gate_schema, load_schema, summary_schema
from quantcheck.report.terminal import render
from quantcheck.report.view import Summary
from quantcheck.runner.assumed import H200, AssumedPace
from quantcheck.runner.pace import Pace
from quantcheck.runner.plan import LoadStep, make_plan
from quantcheck.spec.experiment import Experiment

HERE = Path(__file__).parent
REFERENCE, ON_GPU, FORMATS = (HERE / "results" / name / "summary.json"
                              for name in ("reference", "vllm-awq-18-h200", "transformers-formats-h200"))
BEGIN = "<!-- verdict: written by docs/generate.py from docs/results/reference/summary.json -->\n"
END = "<!-- end of verdict -->\n"
BEGIN_GPU = "<!-- table: written by docs/generate.py from docs/results/vllm-awq-18-h200/summary.json -->\n"
END_GPU = "<!-- end of table -->\n"
BEGIN_FORMATS = BEGIN_GPU.replace("vllm-awq-18-h200", "transformers-formats-h200")
ON_T4 = {"fp16": (24.4, 0.998), "int8": (6.3, 0.642), "awq": (17.1, 0.468)}
"""What the source of transformers-formats reports: tok/s and GB after the load."""
MATRIX = "<!-- matrix: written by docs/generate.py from the preset and `quantcheck plan` -->\n"
END_MATRIX = "<!-- end of matrix -->\n"
NOTE = "<!-- Written by docs/generate.py: change the source, not this page. -->\n"


def pages() -> dict[str, str]:
    """Every generated file's name and content."""
    return {
        "cli.md": _cli_page(),
        "metrics.md": _metrics_page(),
        "experiment.schema.json": json.dumps(Experiment.model_json_schema(by_alias=True), indent=1) + "\n",
        "load.schema.json": json.dumps(load_schema(), indent=1) + "\n",
        "gate.schema.json": json.dumps(gate_schema(), indent=1) + "\n",
        "summary.schema.json": json.dumps(summary_schema(), indent=1) + "\n",
        "worked-examples.md": _beside("worked").page(NOTE),
        "choosing-a-format.md": _beside("choosing").page(NOTE, HERE / "results"),
        "../README.md": _readme(),
        **{f"presets/{name}.md": _preset_page(name) for name in presets.names()},
    }


def _beside(module: str) -> Any:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{module}", HERE / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def _preset_page(name: str) -> str:
    text = (HERE / "presets" / f"{name}.md").read_text(encoding="utf-8")
    if BEGIN_FORMATS in text:
        text = _replaced(text, BEGIN_FORMATS, _formats(_summary(FORMATS)), END_GPU)
    return _replaced(text, MATRIX, _matrix(presets.load(name)), END_MATRIX)


def _formats(summary: Summary) -> str:
    """transformers-formats on our GPU, beside what its source reports of a T4."""
    speed = {(row.metric, row.variant): row for row in summary.speed}
    loaded = {row.variant: row.allocated_bytes.value for row in summary.memory}
    head = ("| | tok/s | of FP16 | prefill, tok/s | of FP16 | decode, tok/s | of FP16 | GB after the load | "
            "T4: tok/s | of FP16 | GB |\n|---|" + "---:|" * 10 + "\n")
    rows = []
    for name in (row.name for row in summary.variants):
        cells = []
        for metric in ("output_throughput", "prefill_throughput", "decode_throughput"):
            row = speed[metric, name]
            assert row.value.value is not None
            cells += [f"{row.value.value:,.0f}", _ratio(row.ratio)]
        rate, size = ON_T4.get(name, (None, None))
        theirs = ["n/a"] * 3 if rate is None else [f"{rate}", f"{rate / ON_T4['fp16'][0]:.2f}x", f"{size}"]
        rows.append(f"| {name} | " + " | ".join([*cells, f"{(loaded[name] or 0) / 1e9:.3f}", *theirs]) + " |\n")
    return head + "".join(rows)


def _ratio(ratio: Figure) -> str:
    if ratio.value is None:
        return "1x"
    interval = "" if ratio.low is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{ratio.value:.2f}x{interval}"


def _matrix(experiment: Experiment) -> str:
    plan = make_plan(experiment)
    tasks = list(plan.tasks())
    starts = {(task.entry, task.block, task.kind) for task in tasks if task.starts}
    random = ", random weights" if experiment.weights == "random" else ""
    rows = {
        "model": f"`{experiment.model}`{random}",
        "engine": " ".join([experiment.engine.kind, *(f"`{key}: {json.dumps(value)}`" for key, value in
                                                      getattr(experiment.engine, "args", {}).items())]),
        "variants": ", ".join(f"{name} (`{variant.scheme}`{', the baseline' * (name == experiment.baseline)})"
                              for name, variant in experiment.variants.items()),
        "noise floor": "the baseline a second time" if experiment.noise_floor else "none",
    }
    for kind, title in (("load", "speed"), ("quality", "quality")):
        subjects = dict.fromkeys(task.subject for task in tasks if task.kind == kind)
        rows[title] = ", ".join(f"`{subject}`" for subject in subjects) or "not measured"
    blocks = len({step.block for step in plan.steps if isinstance(step, LoadStep)})
    rows["size"] = f"{len(tasks)} cells, {blocks} blocks, {len(starts)} engine starts"
    if experiment.engine.kind == "vllm":
        assumed = AssumedPace(experiment, H200)
        seconds = Pace(assumed).seconds(tasks)
        assert seconds is not None
        rows["time"] = f"about {seconds / 60:.0f} minutes, {assumed.words}"
    return "| | |\n|---|---|\n" + "".join(f"| {key} | {value} |\n" for key, value in rows.items())


def _readme() -> str:
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    verdict = render(_summary(REFERENCE), io.StringIO(), width=100).split("\n  Quality by task")[0].strip("\n")
    text = _replaced(text, BEGIN, f"```\n{verdict}\n```\n", END)
    on_gpu = _summary(ON_GPU)
    table = render_markdown(on_gpu).split("## Speed by load\n\n")[1].split("\n\n")[0]
    return _replaced(text, BEGIN_GPU, f"{table}\n\n> {on_gpu.explanations[0].sentence}.\n", END_GPU)


def _summary(path: Path) -> Summary:
    return Summary.model_validate_json(path.read_text(encoding="utf-8"))


def _replaced(text: str, begin: str, new: str, end: str) -> str:
    before, rest = text.split(begin)
    return f"{before}{begin}{new}{end}{rest.split(end)[1]}"


def _cli_page() -> str:
    context = click.Context(_cli, info_name="quantcheck", max_content_width=100, terminal_width=100)
    parts = [NOTE, "# The command line\n", f"```\n{_cli.get_help(context)}\n```\n"]
    for verb in _VERBS:
        command = _cli.get_command(context, verb)
        assert command is not None
        inner = click.Context(command, info_name=verb, parent=context, max_content_width=100, terminal_width=100)
        parts.append(f"## quantcheck {verb}\n\n```\n{command.get_help(inner)}\n```\n")
    return "\n".join(parts)


def _metrics_page() -> str:
    rows = [f"| `{m.key}` | {m.label} | {m.unit or '-'} | {m.better} | {m.definition} |" for m in METRICS.values()]
    head = "| key | label | unit shown | better | definition |\n|---|---|---|---|---|"
    return "\n".join([NOTE, "# Metrics\n", "Durations are stored in seconds, sizes in bytes, shares from 0 to 1.\n",
                      head, *rows, ""])


def main() -> None:
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
