"""One trial: a run is struck at a drawn moment, once or twice, and resumed until it is complete."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos import checks
from benchmarks.chaos.kinds import Kind, Victim
from benchmarks.chaos.processes import MARK, below, command_of, left, listening

__all__ = ["Reference", "Stroke", "Trial", "measure_reference", "try_once"]

HUNG_S = 900.0
GONE_S = 10.0
"""How long what was started may take to follow quantcheck."""
POLL_S = 0.004
AGAIN = 0.2
"""Trials whose resumed run is struck as well."""
DRAWS = 6
AT_STEP = Path(__file__).with_name("at_step")


@dataclass(frozen=True, slots=True)
class Reference:
    """A run of a kind that nobody struck: its results, how long it took, and its steps (`at_step`)."""

    out: Path
    cache: Path
    seconds: float
    steps: int


@dataclass(frozen=True, slots=True)
class Stroke:
    """Who is struck, with what, and when: at the own `step` of `quantcheck run`, or `after_s` (and, where no victim is
    there then, `late_s` after one is)."""

    victim: Victim
    number: signal.Signals
    step: int = 0
    after_s: float = 0.0
    late_s: float = 0.0

    def __str__(self) -> str:
        when = f"at step {self.step}" if self.step else f"at {self.after_s:.2f} s"
        return f"{self.victim.name} {self.number.name} {when}"


@dataclass(slots=True)
class Trial:
    """What came of one. `kept`: complete cells at the last stroke; `runs`: how often quantcheck was started."""

    strokes: list[Stroke] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    kept: int = 0
    runs: int = 0
    seconds: float = 0.0


def measure_reference(kind: Kind, folder: Path) -> Reference:
    """Run the experiment of `kind` undisturbed, twice: the first makes the artifacts. What is in `folder` already is
    taken as it is.
    """
    told = folder / "reference.json"
    if told.exists():
        return Reference(folder / "reference" / "results" / "exp", folder / "cache", **json.loads(told.read_text()))
    shutil.rmtree(folder, ignore_errors=True)
    place = _Place(kind, folder / "first", folder / "cache")
    place.start().wait()
    shutil.rmtree(place.folder)
    place = _Place(kind, folder / "reference", folder / "cache")
    began = time.monotonic()
    process = place.start(CHAOS_COUNT=str(folder / "steps"))
    if process.wait() != 0:
        raise SystemExit(f"{kind.name}: {place.words()}")
    found = Reference(place.out, folder / "cache", time.monotonic() - began, int((folder / "steps").read_text()))
    told.write_text(json.dumps({"seconds": found.seconds, "steps": found.steps}), encoding="utf-8")
    return found


def try_once(kind: Kind, reference: Reference, seed: str, folder: Path) -> Trial:
    """Draw the strokes by `seed` and make them. The folder stays when there are faults."""
    rng, trial, began = random.Random(seed), Trial(), time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    wanted = 1 + (rng.random() < AGAIN)
    fresh = rng.random() < kind.fresh_cache
    for draw in range(DRAWS):  # a run that was over before the moment is no trial
        place = _Place(kind, folder / str(draw), folder / "cache")
        if not fresh:
            shutil.copytree(reference.cache, place.cache, dirs_exist_ok=True)
        while len(trial.strokes) < wanted and not trial.faults:
            stroke = _drawn(kind, reference, rng)
            trial.runs += 1
            if not _struck(place, stroke, trial):
                break
            trial.strokes.append(stroke)
        if trial.strokes or trial.faults:
            break
        shutil.rmtree(folder)
    else:
        trial.faults.append(f"no stroke hit in {DRAWS} runs")
    if not trial.faults:
        _resume(place, reference, trial)
    trial.seconds = time.monotonic() - began
    if not trial.faults:
        shutil.rmtree(folder)
    return trial


def _drawn(kind: Kind, reference: Reference, rng: random.Random) -> Stroke:
    victim = rng.choices(kind.victims, [victim.share for victim in kind.victims])[0]
    number = rng.choice(victim.signals)
    if not victim.words and rng.random() < 0.5:
        return Stroke(victim, number, step=rng.randint(1, reference.steps))
    return Stroke(victim, number, after_s=rng.uniform(0.0, reference.seconds), late_s=rng.choice([0.0, 1.0])
                  * rng.uniform(0.0, 0.4))


class _Place:
    """The folder of a trial, and the processes that are started in it."""

    def __init__(self, kind: Kind, folder: Path, cache: Path) -> None:
        self.kind, self.folder, self.cache = kind, folder, cache
        self.mark = uuid.uuid4().hex
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        cache.mkdir(parents=True, exist_ok=True)
        (folder / "exp.yaml").write_text(kind.experiment, encoding="utf-8")
        self.out = folder / "results" / "exp"

    def start(self, **more: str) -> "subprocess.Popen[bytes]":
        """`quantcheck run`, in a session of its own."""
        environment = {
            **os.environ, MARK: self.mark, "TMPDIR": str(self.temporary), "QUANTCHECK_CACHE": str(self.cache),
            "PYTHONPATH": os.pathsep.join([str(AT_STEP), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "CHAOS_FOLDER": str(self.folder), **more,
        }
        with (self.folder / "words").open("wb") as words:
            return subprocess.Popen(
                [sys.executable, "-m", "quantcheck", "run", "exp.yaml", *self.kind.arguments], cwd=self.folder,
                env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words,
                start_new_session=True)

    def words(self) -> str:
        """What the last run said on standard error."""
        return (self.folder / "words").read_text("utf-8", "replace")

    def at_rest(self) -> list[str]:
        """Wait until nothing is left; what is, then, and the ports that are still listened on."""
        give_up = time.monotonic() + GONE_S
        while (there := left(self.mark)) and time.monotonic() < give_up:
            time.sleep(0.02)
        return [f"still running: {line}" for line in there] + [
            f"still listening: port {port}" for port in checks.ports(self.out) if there and listening(port)]


def _struck(place: _Place, stroke: Stroke, trial: Trial) -> bool:
    """Run until the stroke, and to the end that follows; whether it hit. Faults are added to the trial's."""
    at_step = {"CHAOS_STEP": str(stroke.step), "CHAOS_SIGNAL": str(int(stroke.number))} if stroke.step else {}
    process = place.start(**at_step)
    began, hit, due = time.monotonic(), False, stroke.after_s
    seen = checks.settled(place.out)
    while process.poll() is None:
        now = time.monotonic() - began
        if not hit and not stroke.step:
            seen |= _new(place.out, seen)
            if now >= due:
                victim = _victim(process.pid, stroke.victim)
                if victim is None:
                    due = now + stroke.late_s if stroke.late_s and due == stroke.after_s else due
                else:
                    os.kill(victim, stroke.number)
                    hit = True
        if now > HUNG_S:
            trial.faults.append(f"did not end within {HUNG_S:g} s of its start")
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(POLL_S)
    words, code = place.words(), process.returncode
    if stroke.step:
        hit = code == -stroke.number or (code == 130 and "interrupted" in words)
    trial.faults += place.at_rest()
    trial.faults += _ended(stroke, hit, code, words)
    if place.out.exists():
        trial.faults += checks.stored(place.out)
        there = checks.settled(place.out)
        trial.faults += checks.kept(seen, there)
        trial.kept = len(there)
    return hit


def _new(out: Path, seen: dict[str, str]) -> dict[str, str]:
    """Cells that were not complete before; read only where there are such."""
    names = {record.parent.name for record in out.glob("cells/[!.]*/cell.json")}
    return checks.settled(out) if names - seen.keys() else {}


def _victim(pid: int, victim: Victim) -> int | None:
    if not victim.words:
        return pid
    found = (other for other in below(pid) if all(word in command_of(other) for word in victim.words))
    return next(found, None)


def _ended(stroke: Stroke, hit: bool, code: int, words: str) -> list[str]:
    """Whether quantcheck ended as it must."""
    faults = ["a traceback: " + words.strip().splitlines()[-1]] if "Traceback" in words else []
    if not hit:
        good = code == 0
    elif stroke.victim.words:
        # It may have been done with the victim; otherwise it says in one line what went wrong.
        good = code == 0 or (code == 1 and words.strip().splitlines()[-1].startswith("quantcheck: "))
    elif stroke.number == signal.SIGKILL:
        good = code == -signal.SIGKILL
    else:
        # 0: it had just ended. -SIGTERM: Python was only starting.
        good = code in (130, 0) or (code == -stroke.number and not words)
    return faults if good else [*faults, f"exit code {code}: {words.strip().splitlines()[-1:]}"]


def _resume(place: _Place, reference: Reference, trial: Trial) -> None:
    """Run to the end, and hold what is there against what was there and what must be there."""
    planned = list(checks.cells_of(reference.out))
    before = checks.settled(place.out)
    logs = checks.logs_of_whole_steps(place.out, planned, before)
    trial.runs += 1
    process = place.start()
    try:
        process.wait(HUNG_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    trial.faults += place.at_rest()
    if process.returncode != 0:
        trial.faults.append(f"the resumed run ended with {process.returncode}: {place.words().splitlines()[-1:]}")
        return
    trial.faults += checks.stored_told(place.words(), len(before))
    trial.faults += checks.kept(before, checks.cells_of(place.out)) + checks.stored(place.out)
    if logs.items() - checks.logs_of_whole_steps(place.out, planned, before).items():
        trial.faults.append("the engine of a step that wanted nothing was started again")
    trial.faults += checks.finished(place.out, reference.out, place.kind.same)
    trial.faults += checks.undocumented(place.out, place.cache, place.temporary)
