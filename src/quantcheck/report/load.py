"""The record of a load without an experiment (`quantcheck load`): its JSON, and the same on a terminal."""

import io
import shutil
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import BaseModel, ConfigDict, Field

from quantcheck.metrics import metric
from quantcheck.report import figures
from quantcheck.report.summary import Figure

if TYPE_CHECKING:
    from rich.table import Table  # rich is not needed before there is something to show

__all__ = ["LoadPoint", "LoadReport", "load_table", "render_load"]

SHOWN = ("ttft", "itl", "tpot", "e2e")
RATES = ("output_throughput", "request_throughput")
OPEN = ("ttft_intended", "e2e_intended", "schedule_lag")
TAILS = ("p95", "p99")
LINE = "    \n    \n -- \n    \n    \n    \n    \n    \n"


class LoadPoint(BaseModel):
    """One load: what was asked for, and the figures of its window.

    `result`: durations in s, stamps in CLOCK_MONOTONIC ns. `metrics`: medians and rates by key; `missing`: why a key
    has none; `percentiles`, `percentiles_refused`; `intervals`: 95%, by key or key_percentile; `outcomes`: measured
    requests by how they ended; `window`: method, begin, end, steady or not; `token_counts`: how tokens were counted and
    how that compares with the server's; `client`: the client's own lags, and in `limited` why the window is invalid;
    in `client`, `hosts`: null, or for each host of a load that several made (--on ray) its node, address, hardware_id,
    cores, workers, requests, cpu_s, `clock`, and in `lost` why it was lost (else null). All stamps are on the clock of
    the machine where the command ran; `clock`: by how many s that is ahead of the host's (offset_s, before the load),
    bound_s that the brought stamps are within, the shortest round trips before and after (rtt_before_s, rtt_after_s),
    between_s the two readings, drift_ppm and drift_bound_ppm. `lost`: measured requests lost with a host, or null.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    concurrency: int | None = Field(description="streams of a closed loop")
    rate: float | None = Field(description="requests/s of an open loop")
    requests_asked: int
    warmup_requests: int
    result: dict[str, Any]

    @property
    def invalid(self) -> list[str]:
        """Why the window shows the client and not the server; empty: it does not."""
        found: list[str] = self.result["client"]["limited"]
        return found


class LoadReport(BaseModel):
    """Everything about one `quantcheck load`."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    quantcheck: str
    command: str
    started_at: float = Field(description="Unix time, s")
    duration_s: float
    url: str
    model: str
    api: str
    abilities: dict[str, Any] = Field(description="what the server was found to take, before the load")
    settings: dict[str, Any]
    environment: dict[str, Any]
    calibration: dict[str, Any] | None = Field(description="what this client reached on this machine")
    loads: list[LoadPoint]
    search: dict[str, Any] | None = Field(description="the search for the highest load that meets the SLO")
    interrupted: bool

    @property
    def failed(self) -> bool:
        """Whether some load has no good answer at all, or shows the client and not the server."""
        return not self.loads or any(not point.result["outcomes"].get("ok") or point.invalid for point in self.loads)


def load_table(points: list[LoadPoint]) -> "Table":
    """A row for each load: counts, rates, medians and tails, with 95% intervals."""
    from rich.box import Box
    from rich.table import Table

    table = Table(box=Box(LINE, ascii=True), show_edge=False, pad_edge=False, header_style="")
    table.add_column("load")
    table.add_column("good/all", justify="right")
    for key in (*RATES, *SHOWN):
        table.add_column(metric(key).label if key not in RATES else metric(key).unit, justify="right", no_wrap=True)
    for point in points:
        result = point.result
        cells = [_with_interval(result, key) for key in (*RATES, *SHOWN)]
        good = result["outcomes"].get("ok", 0)
        table.add_row(f"{point.name}{' INVALID' if point.invalid else ''}", f"{good}/{result['requests']}", *cells)
        for tail in TAILS:
            found = [result["percentiles"].get(key, {}).get(tail) for key in SHOWN]
            if any(value is not None for value in found):
                table.add_row(f"  {tail}", "", *[""] * len(RATES),
                              *["" if value is None else metric(key).format(value, unit=False)
                                for key, value in zip(SHOWN, found, strict=True)])
    return table


def _with_interval(result: dict[str, Any], key: str) -> str:
    value, bounds = result["metrics"].get(key), result["intervals"].get(key)
    if value is None:
        return "n/a"
    low, high = bounds or (None, None)
    figure = Figure(value=value, low=low, high=high)
    text = figures.value(figure, key, unit=False)
    if not bounds:
        return text
    digits = figures.shared_decimals([figure], key)
    shown = [figures.value(Figure(value=bound), key, unit=False, digits=digits) for bound in bounds]
    return f"{text}\n{'-'.join(shown)}"


def render_load(report: LoadReport, stream: TextIO, *, width: int | None = None) -> str:
    """The report as text for `stream`, which is asked what it is but not written to."""
    from rich.console import Console
    from rich.padding import Padding

    terminal = stream.isatty()
    buffer = io.StringIO()
    console = Console(file=buffer, width=max(60, width or shutil.get_terminal_size((100, 24)).columns),
                      force_terminal=terminal, highlight=False, markup=False, emoji=False,
                      color_system="auto" if terminal else None)
    console.print(f"  {report.model} at {report.url} ({report.api})\n")
    if report.search is not None:
        console.print(f"  {_searched(report.search)}\n")
    console.print(Padding(load_table(report.loads), (0, 2)))
    console.print("  times in ms, medians; 95% intervals below them")
    for point in report.loads:
        for line in _lines(point):
            console.print(f"  {point.name}: {line}")
    for note in report.abilities["notes"]:
        console.print(f"  ! {note}")
    if report.calibration is not None:
        console.print(f"  {_calibrated(report.calibration)}")
    if report.interrupted:
        console.print("  ! interrupted: these are the figures of what was received until then")
    text = "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))
    return text if terminal else text.encode("ascii", "replace").decode()


def _searched(search: dict[str, Any]) -> str:
    unit = search["unit"]
    if search["highest"] is None:
        return f"No load meets the SLO. {search['reason']}"
    text = f"Highest load that meets the SLO: {search['highest']:g} {unit}"
    text += f" (not {search['lowest']:g})." if search["lowest"] is not None else " (the limit)."
    return f"{text} {search['reason']}"


def _lines(point: LoadPoint) -> list[str]:
    result = point.result
    lines = [f"! {note}" for note in result["notes"]]
    failed = {outcome: count for outcome, count in result["outcomes"].items() if outcome != "ok"}
    if failed:
        lines.append("failed: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(failed.items()))
                     + f"; first: {result['faults'][0]}")
    if result.get("problem"):
        lines.append(f"! ended early: {result['problem']}")
    if point.rate is not None or "ttft_intended" in result["metrics"]:
        known = [key for key in OPEN if key in result["metrics"]]
        lines.append("from the intended send time: " + ", ".join(
            f"{metric(key).label} {metric(key).format(result['metrics'][key])}" for key in known))
    if result["slo"] is not None:
        low, high = result["slo"]["interval"]
        lines.append(f"SLO met by {result['slo']['attained']:.1%} of requests (95% CI {low:.1%} to {high:.1%}), "
                     f"goodput {metric('goodput').format(result['metrics'].get('goodput', 0.0))}")
    window = result["window"]
    steady = {True: "steady", False: "no steady state", None: "steadiness not judged"}[window["steady"]]
    lines.append(f"window {window['length_s']:.2f} s, {steady} ({window['reason']}); "
                 f"client: {_client(result['client'])}")
    refused = sorted(result["percentiles_refused"])
    if refused:
        lines.append(f"n/a: {', '.join(refused)} ({result['percentiles_refused'][refused[0]]})")
    return lines


def _client(client: dict[str, Any]) -> str:
    lag = client["read_lag"]
    stamps = "kernel stamps" if client["stamps"]["kernel"] and not client["stamps"]["user"] else "user-space stamps"
    late = f", read lag p99 {lag['p99'] * 1e3:.2f} ms" if lag else ""
    return f"{client['transport']}, {stamps}{late}{_hosts(client.get('hosts') or [])}"


def _hosts(hosts: list[dict[str, Any]]) -> str:
    if not hosts:
        return ""
    bounds = [host["clock"]["bound_s"] for host in hosts if host["clock"] is not None]
    within = f", clocks within {max(bounds) * 1e3:.2f} ms" if bounds else ""
    lost = sum(host["lost"] is not None for host in hosts)
    return f", {len(hosts)} host{'s' * (len(hosts) > 1)}{f' ({lost} lost)' if lost else ''}{within}"


def _calibrated(found: dict[str, Any]) -> str:
    ttft, itl = found["ttft_error"], found["itl_error"]
    if not ttft or not itl:
        return "calibration: no answer of the fake engine could be compared"
    return (f"calibration at {found['streams']} streams: TTFT error p50 {ttft['p50'] * 1e3:.3f}, p99 "
            f"{ttft['p99'] * 1e3:.3f} ms, ITL error p99 {itl['p99'] * 1e3:.3f} ms, "
            f"{found['cpu_s_per_1000_chunks'] * 1e3:.1f} ms CPU per 1,000 chunks, "
            f"{found['chunks_per_s']:,.0f} chunks/s flat out")
