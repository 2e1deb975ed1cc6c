"""Does the 95% interval of a speed ratio cover the truth, and is a word for equal variants rarely false?

    python benchmarks/speed_verdicts.py > docs/results/statistics/speed.txt

Simulated blocks with known truth, a fixed seed, no engine. A block holds the baseline, a variant and the baseline's
twin; each start has an effect of its own of 3%, the block one of 3% that all share; requests have heavy-tailed
latencies, and for comparison light ones.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from quantcheck.stats import invalid_blocks, judge_speed, ratio_interval, t_interval, trend_floor

TRIALS = 10_000
BOOTSTRAP_TRIALS, DRAWS = 2_000, 300
START = BLOCK = 0.03
TRUTH = float(np.log(1.3))
FloatArray = npt.NDArray[np.floating]
Generator = np.random.Generator

LATENCIES: dict[str, Callable[[Generator, tuple[int, ...]], FloatArray]] = {
    "lognormal, sigma 1": lambda rng, shape: rng.lognormal(0.0, 1.0, shape),
    "Pareto, alpha 2.5": lambda rng, shape: 1.0 + rng.pareto(2.5, shape),
    "lognormal, sigma .1": lambda rng, shape: rng.lognormal(0.0, 0.1, shape),
}
FIGURES: dict[str, Callable[..., FloatArray]] = {"throughput": lambda x, axis: np.asarray(1 / np.mean(x, axis=axis)),
                                                 "median TTFT": lambda x, axis: np.asarray(np.median(x, axis=axis))}


def starts(rng: Generator, trials: int, blocks: int) -> FloatArray:
    """Log effects [trials, blocks, 3] of baseline, variant and twin."""
    return rng.normal(0, BLOCK, (trials, blocks, 1)) + rng.normal(0, START, (trials, blocks, 3))


def batches(total: int, size: int = 500) -> Iterator[int]:
    for begin in range(0, total, size):
        yield min(size, total - begin)


def shipped(logs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ends of quantcheck's interval on the log scale for `logs` [trials, blocks]."""
    ratios = [ratio_interval(row) for row in logs]
    return np.log([r.low or 0.0 for r in ratios]), np.log([r.high or 0.0 for r in ratios])


def hierarchical(rng: Generator, latencies: FloatArray, figure: Callable[..., FloatArray], effects: FloatArray) \
        -> tuple[float, float]:
    """Percentile bootstrap over blocks, then requests, of one trial's `latencies` [blocks, 3, requests]."""
    blocks, _, requests = latencies.shape
    chosen = rng.integers(0, blocks, (DRAWS, blocks))
    rows = rng.integers(0, requests, (DRAWS, blocks, 3, requests))
    again = latencies[chosen[:, :, None, None], np.arange(3)[None, None, :, None], rows]
    logs = np.log(figure(again, axis=-1)) + effects[chosen]
    low, high = np.quantile((logs[..., 1] - (logs[..., 0] + logs[..., 2]) / 2).mean(-1), [0.025, 0.975])
    return float(low), float(high)


def coverage() -> None:
    print(f"1. Coverage of the 95% interval, {TRIALS:,} trials (bootstrap {BOOTSTRAP_TRIALS:,}), truth 1.3x")
    print(f"   {'latencies':<19} {'requests':>8} {'figure':<12} {'blocks':>6} {'shipped':>8} {'one A':>8} "
          f"{'bootstrap':>9} {'width':>7} {'one A':>7}")
    worst = []
    for tail, draw in LATENCIES.items():
        for requests in (48, 400):
            for blocks in (3, 5, 10):
                rng = np.random.default_rng([1, requests, blocks, len(tail)])
                logs: dict[str, list[FloatArray]] = {name: [] for name in FIGURES}
                kept: list[FloatArray] = []
                for size in batches(TRIALS):
                    latencies = draw(rng, (size, blocks, 3, requests))
                    for name, figure in FIGURES.items():
                        logs[name].append(np.log(figure(latencies, axis=-1)))
                    if len(kept) * size < BOOTSTRAP_TRIALS and (requests == 48 or blocks == 3):
                        kept.append(latencies)
                effects = starts(rng, TRIALS, blocks) + np.array([0, TRUTH, 0])
                for name, figure in FIGURES.items():
                    found = np.concatenate(logs[name]) + effects
                    both = found[..., 1] - (found[..., 0] + found[..., 2]) / 2
                    low, high = shipped(both)
                    covers = float(np.mean((low <= TRUTH) & (high >= TRUTH)))
                    one_low, one_high = shipped(found[..., 1] - found[..., 0])
                    one = np.mean((one_low <= TRUTH) & (one_high >= TRUTH))
                    boot = "n/a"
                    if kept:
                        sample = np.concatenate(kept)[:BOOTSTRAP_TRIALS]
                        ends = [hierarchical(rng, x, figure, e) for x, e in zip(sample, effects, strict=False)]
                        boot = f"{np.mean([a <= TRUTH <= b for a, b in ends]):.1%}"
                    worst.append(covers)
                    print(f"   {tail:<19} {requests:>8} {name:<12} {blocks:>6} {covers:>8.1%} {one:>8.1%} {boot:>9} "
                          f"{np.median(high - low) / 2:>7.3f} {np.median(one_high - one_low) / 2:>7.3f}", flush=True)
    print(f"   shipped: {min(worst):.1%} to {max(worst):.1%}; asked: 93% to 97%")
    print("   one A: the baseline's first measurement alone; width: median half width of the log ratio\n")


Path = Callable[[FloatArray], FloatArray]


def machine(kind: str, rng: Generator, trials: int, blocks: int) -> Path:
    """What the machine does within a block, as a log effect at the times [trials, blocks] from 0 to 1."""
    if kind == "steady machine":
        return lambda at: np.zeros((trials, blocks))
    if kind == "each block drifts, 5%":
        slope = rng.normal(0, 0.05, (trials, blocks))
        return lambda at: slope * at
    if kind == "all drift alike, -5%":
        return lambda at: -0.05 * at * np.ones((trials, blocks))
    if kind == "15% of blocks fall 20%":
        hit, moment = rng.random((trials, blocks)) < 0.15, rng.random((trials, blocks))
        return lambda at: -0.2 * hit * (at > moment)
    return lambda at: -0.05 * (at == 0) * np.ones((trials, blocks))


MACHINES = ("steady machine", "each block drifts, 5%", "all drift alike, -5%", "15% of blocks fall 20%",
            "first start 5% slower")
RULES: dict[str, Callable[[dict[int, float], float, float], set[int]]] = {
    "keep all": lambda drifts, effect, margin: set(),
    "plain": lambda drifts, effect, margin: {
        b for b, d in drifts.items() if abs(d) > max(abs(effect), np.log1p(margin))},
    "shipped": invalid_blocks,
}


def drift() -> None:
    trials, margin = 4_000, 0.05
    print(f"2. Leaving blocks out for drift, {trials:,} trials, margin {margin:.0%}, the variant second of four places")
    print("   plain: out when |drift| > max(|effect|, margin); shipped: only when that is a trend too")
    print(f"   {'machine':<23} {'truth':>5} {'blocks':>6} {'rule':<9} {'covers':>7} {'no interval':>11} {'width':>6} "
          f"{'f/s':>6} {'f/s, floors':>11} {'same':>6} {'settled':>7}")
    for kind in MACHINES:
        for truth in (0.0, float(np.log(1.1))):
            for blocks in (3, 5, 10):
                rng = np.random.default_rng([2, blocks, len(kind), round(truth * 1e3)])
                path = machine(kind, rng, trials, blocks)
                even = np.arange(blocks) % 2 == 0
                at = np.stack([np.where(even, 0, 1), np.where(even, 1 / 3, 2 / 3), np.where(even, 1, 0)])
                found = starts(rng, trials, blocks) + np.stack([path(t[None, :]) for t in at], axis=-1)
                found[..., 1] += truth
                ratios = found[..., 1] - (found[..., 0] + found[..., 2]) / 2
                twin = found[..., 2] - found[..., 0]
                for name, rule in RULES.items():
                    drift_row(kind, truth, name, rule, ratios, twin, twin * np.where(even, 1, -1), margin)
    print("   f/s: `faster` or `slower`; floors: with the noise floor and the mean drift as a second condition (as "
          "shipped);\n   same: `no detectable difference`; settled: any word but `inconclusive`, as shipped\n")


def drift_row(
    kind: str, truth: float, name: str, rule: Callable[[dict[int, float], float, float], set[int]],
    ratios: FloatArray, twin: FloatArray, drifts: FloatArray, margin: float,
) -> None:
    covers, widths, words, guarded = [], [], [], []
    for logs, again, moved in zip(ratios, twin, drifts, strict=True):
        by_block = dict(enumerate(moved.tolist()))
        gone = rule(by_block, float(logs.mean()), margin)
        kept = np.array([log for block, log in enumerate(logs) if block not in gone])
        inner = t_interval(kept) if len(kept) else None
        if inner is None or inner.low is None or inner.high is None:
            words.append("inconclusive")
            guarded.append("inconclusive")
            continue
        covers.append(inner.low <= truth <= inner.high)
        widths.append((inner.high - inner.low) / 2)
        ratio = ratio_interval(kept)
        floor = max(abs(float(again.mean())), abs(trend_floor(by_block) or 0.0))
        words.append(judge_speed(ratio, higher_is_better=True, margin=margin).word)
        guarded.append(judge_speed(ratio, higher_is_better=True, margin=margin, floor=floor).word)
    plain, floors = (np.mean([w in ("faster", "slower") for w in of]) for of in (words, guarded))
    same = np.mean([w == "no detectable difference" for w in guarded])
    settled = np.mean([w != "inconclusive" for w in guarded])
    print(f"   {kind:<23} {np.exp(truth):>5.2f} {ratios.shape[1]:>6} {name:<9} {np.mean(covers):>7.1%} "
          f"{1 - len(covers) / len(ratios):>11.1%} {np.median(widths):>6.3f} {plain:>6.1%} {floors:>11.1%} "
          f"{same:>6.1%} {settled:>7.1%}", flush=True)


if __name__ == "__main__":
    print(f"$ python {' '.join(sys.argv)}\n")
    coverage()
    drift()
