"""A load without an experiment: any endpoint, one load after another, or a search for the highest within the SLO."""

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

import quantcheck
from quantcheck.engines.base import Dialect, Endpoint
from quantcheck.errors import SpecError
from quantcheck.load.probe import Abilities, probe, vocabulary_of
from quantcheck.load.sending import Limits, Sending
from quantcheck.load.target import target_of
from quantcheck.spec.load import SLO, Arrival, Workload

if TYPE_CHECKING:
    # Loaded while the server is being asked.
    from quantcheck.load.client import Pulse, Send
    from quantcheck.load.measure import LoadResult
    from quantcheck.load.raw import Table
    from quantcheck.load.search import Observation
    from quantcheck.report.load import LoadPoint, LoadReport

__all__ = ["LoadSettings", "Loaded", "run_load"]

T = TypeVar("T")

ASSUMED_VOCABULARY = 32_000
LEAST_REQUESTS = 64
PER_STREAM = 4
WARM_SHARE = 0.1
SEARCH_START = 8.0
"""A search begins here when nothing is said; it goes down by itself."""
WILSON_Z2 = 1.96**2
PILOT_STREAMS, PILOT_REQUESTS = 8, 16
SPARE = 1.5
"""A pilot's rate times this: so many requests are made ready for a load of a given duration."""
MOST_REQUESTS = 200_000


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What `quantcheck load` was asked for. `concurrency` and `rate`: a ladder of loads, one after another; neither:
    the workload's trace at its own times. `find_max`: search instead, by streams or rate, from the first of them on."""

    url: str
    model: str
    workload: Workload
    api: Dialect = "completions"
    concurrency: Sequence[int] = ()
    rate: Sequence[float] = ()
    find_max: Literal["concurrency", "rate"] | None = None
    most: float | None = None
    requests: int | None = None
    duration_s: float | None = None
    warmup: int | None = None
    arrival: Arrival = field(default_factory=Arrival)
    slo: SLO | None = None
    vocab_size: int | None = None
    text: bool = False
    seed: int = 0
    calibrate: bool = False
    sending: Sending = field(default_factory=Sending)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The report, and the raw chunks of all its loads as one table."""

    report: "LoadReport"
    raw: "Table"


Show = Callable[[str, "Pulse | None", Sequence["LoadPoint"]], None]
"""Called with the load's name, how far it is (None: something else is being done), and the loads that are done."""


def run_load(
    settings: LoadSettings, show: Show, command: str | None = None, *, send: "Send | None" = None,
    notes: Sequence[str] = (),
) -> Loaded:
    """Probes the endpoint, sends the loads, and reports. Ctrl-C ends it with what there is, and so does the loss of a
    host that makes the load. `send`: who sends, with `notes` for the report; None: this machine.

    Raises `SpecError` for what does not fit together, and what `probe` and `measure` raise.
    """
    from quantcheck.telemetry.environment import environment

    started_at, began = time.time(), time.monotonic()
    run = _Run(settings, show, send, notes)
    interrupted = False
    search: dict[str, Any] | None = None
    try:
        run.prepare()
        if settings.find_max is not None:
            search = run.search()
        else:
            for concurrency, rate in run.loads():
                run.point(concurrency, rate)
    except KeyboardInterrupt:
        if run.abilities is None:
            raise
        interrupted = True
    except _HostLost:
        pass
    assert run.abilities is not None
    from quantcheck.load.raw import raw_table
    from quantcheck.report.load import LoadReport

    report = LoadReport(
        quantcheck=quantcheck.__version__,
        command=command or shlex.join(["quantcheck", *sys.argv[1:]]),
        started_at=started_at,
        duration_s=time.monotonic() - began,
        url=settings.url, model=settings.model, api=settings.api,
        abilities=run.abilities.as_json() | {"notes": [*run.abilities.notes, *run.notes]},
        settings=_told(settings),
        environment=environment(),
        calibration=run.calibration,
        loads=run.points,
        search=search,
        interrupted=interrupted,
    )
    return Loaded(report, raw_table([point.name for point in run.points], run.tables))


class _HostLost(Exception):
    """What was measured until then stays; the rest of the ladder would be made by fewer hosts."""


class _Run:
    def __init__(self, settings: LoadSettings, show: Show, send: "Send | None", notes: Sequence[str]) -> None:
        self.settings, self.show, self.send = settings, show, send
        target = target_of(settings.url)
        base = settings.url.rstrip("/").removesuffix("/v1")
        self.endpoint = Endpoint(base if "//" in base else f"http://{base}", settings.model, settings.api)
        self.abilities: Abilities | None = None
        self.calibration: dict[str, Any] | None = None
        self.notes = [*notes, *([] if target.plain else [
            f"{'HTTPS' if target.secure else 'a proxy'}: a library client is used, with user-space stamps"])]
        self.points: list[LoadPoint] = []
        self.tables: list[Mapping[str, Table]] = []
        self.vocab_size = settings.vocab_size

    def prepare(self) -> None:
        """What the server takes, the vocabulary, and what this client can do."""
        settings, key = self.settings, self.settings.sending.key_variable
        if key is not None and not os.environ.get(key):
            raise SpecError(f"--key-env: the environment variable {key} is not set; put the key into it")
        if settings.find_max is not None and settings.slo is None:
            raise SpecError("--find-max needs an SLO: give --slo-ttft-ms, --slo-itl-ms or --slo-e2e-ms")
        self.show("asking the server", None, self.points)
        ids = settings.api != "chat" and not settings.text and settings.workload.prompts is None
        unknown = ids and self.vocab_size is None and settings.sending.tokenizer is None

        def ask() -> tuple[Abilities, int | None]:
            return (probe(self.endpoint, ids=ids, key_variable=key),
                    vocabulary_of(self.endpoint, key) if unknown else None)

        answer = _InBackground(ask)
        import quantcheck.load.measure
        import quantcheck.report.load  # noqa: F401

        self.abilities, told = answer.result()
        if unknown and self.abilities.ids:
            self.vocab_size = told
            if self.vocab_size is None:
                self.vocab_size = ASSUMED_VOCABULARY
                self.notes.append("the server does not tell its vocabulary: prompts are drawn from "
                                  f"{ASSUMED_VOCABULARY:,} token ids (--vocab-size or --tokenizer say better)")
        if settings.calibrate:
            from quantcheck.load.calibrate import calibrate

            self.show("calibrating", None, self.points)
            work = settings.workload
            self.calibration = calibrate(
                streams=max(settings.concurrency, default=64),
                prompt_tokens=work.prompt_tokens if isinstance(work.prompt_tokens, int) else 64,
                output_tokens=work.output_tokens if isinstance(work.output_tokens, int) else 64,
                workers=settings.sending.workers, kernel_stamps=settings.sending.kernel_stamps)

    def loads(self) -> list[tuple[int | None, float | None]]:
        """The ladder; one load without numbers is the trace at its own times."""
        settings = self.settings
        found: list[tuple[int | None, float | None]] = [
            *((streams, None) for streams in settings.concurrency), *((None, rate) for rate in settings.rate)]
        return found or [(None, None)]

    def point(self, concurrency: int | None, rate: float | None, repeat: int = 0) -> "LoadPoint":
        """One load, kept and shown."""
        from quantcheck.report.load import LoadPoint

        settings = self.settings
        name = f"c{concurrency}" if concurrency is not None else f"r{rate:g}" if rate is not None else "trace"
        requests, duration = self._requests(concurrency, rate)
        warmup = settings.warmup
        if warmup is None:
            warmup = 1 if concurrency is not None else max(2, round(WARM_SHARE * requests))
        found = self._measure(name, concurrency, rate, requests, warmup, duration, repeat)
        point = LoadPoint(name=name, concurrency=concurrency, rate=rate, requests_asked=requests,
                          warmup_requests=warmup, result=found.summary)
        self.points.append(point)
        self.tables.append(found.tables)
        self.show(name, None, self.points)
        if found.interrupted:
            raise KeyboardInterrupt
        if found.lost_host:
            raise _HostLost
        return point

    def search(self) -> dict[str, Any]:
        """Finds the highest load that meets the SLO."""
        from quantcheck.load.search import find_max, observe

        settings, slo = self.settings, self.settings.slo
        assert slo is not None
        streams = settings.find_max == "concurrency"
        given = settings.concurrency if streams else settings.rate
        limit = settings.most or (4096 if streams else 10_000)
        start = float(given[0]) if given else min(SEARCH_START, limit)

        def one(load: float, repeat: int) -> "Observation":
            point = self.point(round(load), None, repeat) if streams else self.point(None, load, repeat)
            return observe(point.result)

        found = find_max(one, share=slo.share, start=start, limit=limit, integer=streams)
        return found.as_json() | {"unit": "streams" if streams else "requests/s"}

    def _requests(self, concurrency: int | None, rate: float | None) -> tuple[int, float | None]:
        """How many requests are made ready, and the time after which a closed loop begins no more of them."""
        settings = self.settings
        if settings.requests is not None:
            return max(settings.requests, concurrency or 1), settings.duration_s
        if settings.duration_s is None:
            if concurrency is None and rate is None:
                return MOST_REQUESTS, None
            least = LEAST_REQUESTS
            if settings.find_max is not None and settings.slo is not None:  # so many good ones settle a load at once
                least = ceil(WILSON_Z2 * settings.slo.share / (1 - settings.slo.share))
            return max(least, PER_STREAM * (concurrency or 1)), None
        if rate is not None:
            return max(1, round(rate * settings.duration_s)), None
        if concurrency is None:
            return MOST_REQUESTS, settings.duration_s
        streams = min(concurrency, PILOT_STREAMS)
        pilot = self._measure("pilot", streams, None, max(PILOT_REQUESTS, streams), 0, None, 0).summary["metrics"]
        if not pilot.get("e2e"):
            raise SpecError("--duration: the pilot got no answer, so nothing is known of how many requests are needed; "
                            "give --requests")
        need = SPARE * settings.duration_s * concurrency / pilot["e2e"]
        return min(MOST_REQUESTS, max(concurrency, round(need))), settings.duration_s

    def _measure(
        self, name: str, concurrency: int | None, rate: float | None, requests: int, warmup: int,
        duration_s: float | None, repeat: int,
    ) -> "LoadResult":
        from quantcheck.load.client import run_schedule
        from quantcheck.load.measure import measure
        from quantcheck.load.prompts import window_seed

        settings, abilities = self.settings, self.abilities
        assert abilities is not None
        limits: Limits = replace(settings.sending.limits, duration_s=duration_s)
        text = not abilities.ids and settings.workload.prompts is None
        sending = replace(settings.sending, limits=limits, plain=abilities.plain,
                          prompt_form="text" if text else "ids", keep_on_interrupt=True)
        return measure(
            self.endpoint, settings.workload, concurrency=concurrency, rate=rate, arrival=settings.arrival,
            requests=requests, warmup_requests=warmup, seed=window_seed(settings.seed, name, repeat),
            vocab_size=self.vocab_size, slo=settings.slo, calibration=self.calibration, sending=sending,
            watch=lambda pulse: self.show(name, pulse, self.points), send=self.send or run_schedule)


class _InBackground(Generic[T]):
    """Something that waits for the network, begun at once. Its thread holds nobody up: Ctrl-C need not wait for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._found: T | None = None
        self._raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._found = work()
        except BaseException as error:  # noqa: BLE001  (raised again by `result`)
            self._raised = error

    def result(self) -> T:
        while self._thread.is_alive():  # in steps, so that Ctrl-C is heard
            self._thread.join(0.05)
        if self._raised is not None:
            raise self._raised
        return cast(T, self._found)


def _told(settings: LoadSettings) -> dict[str, Any]:
    """The settings as JSON; an API key is not among them, only its variable's name."""
    sending = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings.sending).items()}
    return {
        "workload": settings.workload.model_dump(mode="json"),
        "arrival": settings.arrival.model_dump(mode="json"),
        "slo": settings.slo.model_dump(mode="json") if settings.slo else None,
        "sending": sending,
        **{key: getattr(settings, key) for key in ("find_max", "most", "requests", "duration_s", "warmup", "vocab_size",
                                                   "text", "seed", "calibrate")},
        "concurrency": list(settings.concurrency),
        "rate": list(settings.rate),
    }
