"""`quantcheck load`."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantcheck.cli.place import placed

if TYPE_CHECKING:
    from quantcheck.load.client import Pulse
    from quantcheck.report.load import LoadPoint
    from quantcheck.runner.standalone import LoadSettings, Show

__all__ = ["command"]

FILE = click.Path(path_type=Path)


@click.command("load")
@click.option("--url", required=True, help="Where the API is, e.g. http://127.0.0.1:8000/v1.")
@click.option("--model", required=True, help="The model's name in requests.")
@click.option("--api", type=click.Choice(["completions", "chat", "llama-server"]), default="completions",
              show_default=True, help="/v1/completions, /v1/chat/completions, or llama-server's /completion.")
@click.option("--key-env", metavar="NAME", help="Environment variable that holds the API key.")
@click.option("-c", "--concurrency", type=click.IntRange(1), multiple=True,
              help="Closed loop of so many streams; may be given several times.")
@click.option("-r", "--rate", type=click.FloatRange(0, min_open=True), multiple=True,
              help="Open loop of so many requests/s; may be given several times.")
@click.option("--trace", type=FILE, help="CSV of arrival times and lengths to replay.")
@click.option("--time-scale", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Of the trace: 2 is twice as fast.")
@click.option("--arrival", type=click.Choice(["poisson", "constant", "gamma"]), default="poisson", show_default=True,
              help="Process of an open loop's arrivals.")
@click.option("--burstiness", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Gamma's shape: below 1 comes in bursts.")
@click.option("--find-max", type=click.Choice(["concurrency", "rate"]),
              help="Search the highest load that meets the SLO, from the first -c or -r on.")
@click.option("--most", type=click.FloatRange(0, min_open=True), help="Highest load that --find-max may try.")
@click.option("-n", "--requests", type=click.IntRange(1), help="Measured requests per load [64, at least 4 a stream].")
@click.option("--duration", type=click.FloatRange(0, min_open=True), metavar="S", help="Seconds per load, instead.")
@click.option("--warmup", type=click.IntRange(0), help="Requests before the window [1 a stream; 10% in an open loop].")
@click.option("--prompt-tokens", metavar="N|A-B", default="64", show_default=True,
              help="Exact length of synthetic prompts; A-B: uniform.")
@click.option("--output-tokens", metavar="N|A-B", default="64", show_default=True, help="Forced length of answers.")
@click.option("--free", is_flag=True, help="Let answers end where the model ends them; --output-tokens is the most.")
@click.option("--prompts", type=FILE, help="JSONL of your own prompts: `prompt` or `messages` on every line.")
@click.option("--shared-prefix", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True,
              help="Share of each synthetic prompt that all have in common.")
@click.option("--repeat", type=click.IntRange(1), help="Take so many prompts in turns, instead of never twice.")
@click.option("--text", is_flag=True, help="Synthetic prompts as text, not as token ids.")
@click.option("--tokenizer", type=FILE, help="The model's folder or tokenizer.json: exact lengths of text.")
@click.option("--vocab-size", type=click.IntRange(16), help="Size of the vocabulary that prompts are drawn from.")
@click.option("--slo-ttft-ms", type=click.FloatRange(0, min_open=True), help="SLO: time to first token.")
@click.option("--slo-itl-ms", type=click.FloatRange(0, min_open=True), help="SLO: time per output token of a request.")
@click.option("--slo-e2e-ms", type=click.FloatRange(0, min_open=True), help="SLO: whole answer.")
@click.option("--slo-share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95,
              show_default=True, help="Share of requests that must meet the SLO.")
@click.option("--request-timeout", type=click.FloatRange(0, min_open=True), default=120.0, show_default=True,
              metavar="S", help="Deadline of a request.")
@click.option("--first-byte-timeout", type=click.FloatRange(0, min_open=True), metavar="S",
              help="Deadline of an answer's first byte.")
@click.option("--run-timeout", type=click.FloatRange(0, min_open=True), metavar="S", help="Deadline of each load.")
@click.option("--no-stream", is_flag=True, help="Ask for whole answers: no TTFT.")
@click.option("--workers", type=click.IntRange(1), help="Client processes [by the load].")
@click.option("--stamps", type=click.Choice(["kernel", "user"]), default="kernel", show_default=True,
              help="Whose receive stamps to take: with the process's own and up to 8 streams it keeps a core awake.")
@click.option("--calibrate", is_flag=True, help="First measure this client itself against a server of known times.")
@click.option("--on", default="local", show_default=True, metavar="WHERE",
              help="Who makes the load. local: this machine. ray: nodes of the Ray cluster of this machine, each its "
                   "share. ray://HOST:PORT: through a cluster's client server.")
@click.option("--hosts", type=click.IntRange(1), metavar="N", help="With Ray: so many nodes make the load [all].")
@click.option("--node-label", "labels", multiple=True, metavar="NAME=VALUE",
              help="With Ray: use only nodes with this label; may be given several times.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=FILE, help="Write the record as JSON.")
@click.option("--raw", type=FILE, help="Write every chunk's stamps as Parquet.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    on: str, hosts: int | None, labels: tuple[str, ...], out: Path | None, raw: Path | None, quiet: bool, **given: Any
) -> None:
    """Load an endpoint and say how it answers, without an experiment.

    The keys of the JSON are described by `quantcheck schema load`.
    """
    node_labels = placed(on, labels)
    if on == "local" and hosts is not None:
        raise click.UsageError("--hosts is of the nodes of a Ray cluster: give --on ray with it, or leave it out")
    if on != "local" and given["calibrate"]:
        raise click.UsageError("--calibrate measures the client of this machine, and with --on others make the load: "
                               "calibrate there, or leave it out")
    settings = _settings(**given)
    for path in (out, raw):
        if path is not None and not path.absolute().parent.is_dir():
            raise click.UsageError(f"{path}: its folder is not there; make it first")
    from quantcheck.cli.output import write_whole
    from quantcheck.report.load import render_load
    from quantcheck.runner.standalone import run_load

    if on == "local":
        with _display(quiet) as show:
            found = run_load(settings, show)
    else:
        from quantcheck.distributed.load_hosts import hosts_on

        with hosts_on(on, hosts, node_labels) as send, _display(quiet) as show:
            found = run_load(settings, show, send=send, notes=send.notes)
    if not quiet:  # first: what cannot be written is then at least read
        click.echo(render_load(found.report, sys.stdout), nl=False)
    if out is not None:
        write_whole(out, found.report.model_dump_json(indent=1) + "\n")
    if raw is not None:
        from quantcheck.store import write_table

        write_table(raw, found.raw)
    if found.report.interrupted:
        sys.exit(130)
    if found.report.failed:
        click.echo("quantcheck: some load has no good answer, or is invalid; see the lines above", err=True)
        sys.exit(1)


def _settings(**given: Any) -> "LoadSettings":
    from pydantic import ValidationError

    from quantcheck.load.sending import Limits, Sending
    from quantcheck.runner.standalone import LoadSettings
    from quantcheck.spec.load import SLO, Arrival, Workload

    if not (given["concurrency"] or given["rate"] or given["trace"] or given["find_max"]):
        raise click.UsageError("no load: give --concurrency N, --rate R, --trace FILE or --find-max")
    synthetic = given["trace"] is None and given["prompts"] is None
    slo = {key: given[f"slo_{key}"] for key in ("ttft_ms", "itl_ms", "e2e_ms") if given[f"slo_{key}"] is not None}
    try:
        workload = Workload(
            prompt_tokens=_length(given["prompt_tokens"], "--prompt-tokens") if synthetic else None,
            output_tokens=None if given["trace"] else _length(given["output_tokens"], "--output-tokens"),
            prompts=str(given["prompts"]) if given["prompts"] else None,
            trace=str(given["trace"]) if given["trace"] else None,
            time_scale=given["time_scale"], shared_prefix=given["shared_prefix"], free=given["free"],
        )
        arrival = Arrival(process=given["arrival"], burstiness=given["burstiness"])
    except ValidationError as error:
        raise click.UsageError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from error
    return LoadSettings(
        url=given["url"], model=given["model"], api=given["api"], workload=workload,
        concurrency=given["concurrency"], rate=given["rate"], find_max=given["find_max"], most=given["most"],
        requests=given["requests"], duration_s=given["duration"], warmup=given["warmup"],
        arrival=arrival,
        slo=SLO(**slo, share=given["slo_share"]) if slo else None,
        vocab_size=given["vocab_size"], text=given["text"], seed=given["seed"], calibrate=given["calibrate"],
        sending=Sending(
            limits=Limits(given["request_timeout"], given["first_byte_timeout"], given["run_timeout"]),
            tokenizer=given["tokenizer"], stream=not given["no_stream"], repeat=given["repeat"],
            workers=given["workers"], kernel_stamps=given["stamps"] == "kernel", key_variable=given["key_env"],
        ),
    )


def _length(text: str, option: str) -> Any:
    low, dash, high = text.partition("-")
    if not low.isdecimal() or (dash and not high.isdecimal()):
        raise click.UsageError(f"{option}: {text!r} is neither a number of tokens nor a range such as 16-128")
    return {"min": int(low), "max": int(high)} if dash else int(low)


@contextmanager
def _display(quiet: bool) -> Iterator["Show"]:
    """A live table on a terminal, a line for each load elsewhere; on standard error."""
    from quantcheck.cli.interrupt import raise_if_interrupted

    if quiet or not sys.stderr.isatty():
        told = 0

        def plain(name: str, pulse: "Pulse | None", points: Sequence["LoadPoint"]) -> None:
            nonlocal told
            raise_if_interrupted()
            if not quiet and len(points) > told:
                told = len(points)
                outcomes = json.dumps(points[-1].result["outcomes"])
                click.echo(f"{points[-1].name}  {points[-1].result['window_s']:.1f} s  {outcomes}", err=True)

        yield plain
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from quantcheck.report.load import load_table

    console = Console(stderr=True, highlight=False)
    with Live(console=console, transient=True, refresh_per_second=5) as live:
        def show(name: str, pulse: "Pulse | None", points: Sequence["LoadPoint"]) -> None:
            raise_if_interrupted()
            line = name if pulse is None else (
                f"{name}: {pulse.done:,} of {pulse.requests:,} requests, {pulse.busy:,} in flight, {pulse.failed:,} "
                f"failed, {pulse.elapsed_s:.0f} s")
            live.update(Group(load_table(list(points)), Text(line)) if points else Text(line))

        yield show
