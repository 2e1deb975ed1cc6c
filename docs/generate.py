"""Write the generated pages of docs/ (the command line, the metrics, the JSON Schemas) and the README's verdict.

    python docs/generate.py

A test checks that what is committed is what this writes.
"""

import io
import json
from pathlib import Path

import click

from quantcheck.cli import _VERBS, _cli
from quantcheck.metrics import METRICS
from quantcheck.report.schema import gate_schema, load_schema, summary_schema
from quantcheck.report.terminal import render
from quantcheck.report.view import Summary
from quantcheck.spec.experiment import Experiment

HERE = Path(__file__).parent
STORED = HERE / "results" / "reference" / "summary.json"
BEGIN = "<!-- verdict: written by docs/generate.py from docs/results/reference/summary.json -->\n"
END = "<!-- end of verdict -->\n"
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
        "../README.md": _readme(),
    }


def _readme() -> str:
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    summary = Summary.model_validate_json(STORED.read_text(encoding="utf-8"))
    verdict = render(summary, io.StringIO(), width=100).split("\n  Quality by task")[0].strip("\n")
    return f"{before}{BEGIN}```\n{verdict}\n```\n{END}{rest.split(END)[1]}"


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
