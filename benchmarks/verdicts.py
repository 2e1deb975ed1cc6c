"""How often the verdicts on quality are wrong, by simulation with a fixed seed: does 5% mean 5%?

    python benchmarks/verdicts.py [--runs 20000] [--sequential-runs 4000] [--seed 0]

Every table gives the share of runs with the wrong word, in %. `safe` is wrong where the true loss equals the margin,
`harmed` where there is no loss; 5.5 is the bar, and a star marks what lies above it. Of 20,000 runs a true 5% comes out
within 0.3 (two standard errors), of 4,000 within 0.7. `psi`: share of items that flip. Independent items
are counted out exactly as well, over all outcomes, without any error of simulation.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
from scipy import stats

from quantcheck.stats import holm, items_for_noninferiority
from quantcheck.stats.clusters import INDEPENDENT, clustering_of_sums
from quantcheck.stats.draws import share_test
from quantcheck.stats.sequential import Stop, expected_stop, stop

MMLU = (100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 102, 103, 108, 110, 112, 114, 121, 126, 131, 135, 144, 145,
        151, 152, 163, 165, 166, 171, 173, 193, 198, 201, 203, 204, 216, 223, 234, 235, 237, 238, 245, 265, 270, 272,
        282, 306, 310, 311, 324, 346, 378, 390, 545, 612, 783, 895, 1534)  # fmt: skip
"""Items of its 57 subjects: 14,042."""

SIZES = (164, 1_319, 14_042)
BAR = 5.5


def rate(wrong: object) -> str:
    """A share in %, with a star above the bar."""
    percent = 100 * float(np.mean(wrong))  # type: ignore[arg-type]
    return f"{percent:6.2f}{'*' if percent > BAR else ' '}"


def cases() -> Iterator[tuple[int, float, float]]:
    """(n, margin, psi): every psi that a loss of the margin is possible with."""
    for n in SIZES:
        for margin in (0.01, 0.02, 0.05) if n == SIZES[0] else (0.01, 0.02):
            yield from ((n, margin, psi) for psi in (0.02, 0.05, 0.1, 0.2) if psi >= margin)


def exact_safe(n: int, margin: float, psi: float) -> float:
    """P(`safe`) at a true loss of the margin, over all outcomes: Bin(n, psi) flips, of which a share gains."""
    first, last = (int(k) for k in stats.binom.ppf([1e-10, 1 - 1e-10], n, psi))
    flips = np.arange(max(first, 0), last + 1)
    low, high = np.zeros_like(flips), flips + 1  # the fewest gained items that make it safe: bisection
    while np.any(low < high):
        middle = (low + high) // 2
        safe = INDEPENDENT.p_below(middle, flips - middle, np.full_like(flips, n), -margin) <= 0.05
        active = low < high
        high, low = np.where(active & safe, middle, high), np.where(active & ~safe, middle + 1, low)
    gains = (psi - margin) / 2 / psi
    return float(np.sum(stats.binom.pmf(flips, n, psi) * stats.binom.sf(low - 1, flips, gains)))


def independent(rng: np.random.RandomState, runs: int) -> None:
    print("\nIndependent items, one task\n      n  margin   psi | safe: exact  simulated | harmed: simulated")
    for n, margin, psi in cases():
        lost, gained, _ = rng.multinomial(n, [(psi + margin) / 2, (psi - margin) / 2, 1 - psi], runs).T
        safe = INDEPENDENT.p_below(gained, lost, np.full(runs, n), -margin) <= 0.05
        lost, gained, _ = rng.multinomial(n, [psi / 2, psi / 2, 1 - psi], runs).T
        harmed = stats.binom.cdf(gained, lost + gained, 0.5) <= 0.05
        print(f"{n:7,}  {100 * margin:4.0f}pp {100 * psi:4.0f}% |     {rate(exact_safe(n, margin, psi))}   {rate(safe)}"
              f"  |         {rate(harmed)}")


def subjects(n: int) -> np.ndarray:
    """MMLU's subjects scaled down to `n` items, none empty."""
    sizes = np.maximum(1, np.floor(np.array(MMLU) * n / sum(MMLU)).astype(np.int64))
    for place in range(abs(n - int(sizes.sum()))):
        sizes[len(sizes) - 1 - place % 20] += 1 if n > sizes.sum() else -1
    return sizes


def draw_groups(
    rng: np.random.RandomState, runs: int, sizes: np.ndarray, psi: float, delta: float, correlation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lost and gained [runs, G]: each group has rates of its own, beta with this intraclass correlation."""
    lost, gained = (psi - delta) / 2, (psi + delta) / 2

    def rates(mean: float) -> np.ndarray:
        shape = (runs, len(sizes))
        if correlation == 0 or mean < 1e-12:
            return np.full(shape, mean)
        scale = 1 / correlation - 1
        return rng.beta(mean * scale, (1 - mean) * scale, shape)

    down = rng.binomial(sizes, rates(lost))
    return down, rng.binomial(sizes - down, np.minimum(rates(gained) / (1 - lost), 1))


def wrong_clustered(lost: np.ndarray, gained: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, object]:
    """Totals and what the groups do to the test, as `compare_items` has it."""
    n, down, up = sizes.sum(), lost.sum(axis=1), gained.sum(axis=1)
    found = clustering_of_sums((gained - lost).astype(np.float64), sizes, (down + up) / n - ((up - down) / n) ** 2)
    return down, up, found


def textbook_p(lost: np.ndarray, gained: np.ndarray, sizes: np.ndarray, margin: float) -> np.ndarray:
    """The clustered error with G/(G-1) and Student's t on G - 1 degrees of freedom, for comparison."""
    n, count = sizes.sum(), len(sizes)
    delta = (gained - lost).sum(axis=1) / n
    residual = gained - lost - delta[:, np.newaxis] * sizes
    error = np.sqrt(count / (count - 1) * (residual**2).sum(axis=1)) / n
    return np.asarray(stats.t.sf((delta + margin) / np.maximum(error, 1e-12), count - 1))


def clustered(rng: np.random.RandomState, runs: int) -> None:
    print("\nItems in groups, one task; columns: intraclass correlation of each kind of flip"
          "\ngroups                     n  margin   psi | safe: 0.00    0.01    0.03    0.10 | harmed: 0.00    0.01"
          "    0.03    0.10 | the textbook's safe: 0.03    0.10")
    layouts = [("57 subjects, as in MMLU", subjects(n)) for n in SIZES]
    layouts += [(name, np.full(count, size)) for name, count, size in
                [("57 of like size", 57, 246), ("330 of 4", 330, 4), ("12 of like size", 12, 110)]]
    for name, sizes in layouts:
        n = int(sizes.sum())
        margins = (0.01, 0.02, 0.05) if n == SIZES[0] else (0.01, 0.02)
        for margin, psi in [(m, p) for m in margins for p in (0.02, 0.05, 0.2) if p >= m]:
            safes, harms, textbook = [], [], []
            for correlation in (0.0, 0.01, 0.03, 0.1):
                lost, gained = draw_groups(rng, runs, sizes, psi, -margin, correlation)
                down, up, found = wrong_clustered(lost, gained, sizes)
                textbook.append(textbook_p(lost, gained, sizes, margin) <= 0.05)
                safes.append(found.p_below(up, down, np.full(runs, n), -margin) <= 0.05)  # type: ignore[attr-defined]
                down, up, found = wrong_clustered(*draw_groups(rng, runs, sizes, psi, 0.0, correlation), sizes)
                score = found.p_above(up, down, np.full(runs, n), 0.0)  # type: ignore[attr-defined]
                harms.append(np.maximum(score, stats.binom.cdf(up, down + up, 0.5)) <= 0.05)
            print(f"{name:23} {n:6,}  {100 * margin:4.0f}pp {100 * psi:4.0f}% |    {' '.join(map(rate, safes))} |     "
                  f" {' '.join(map(rate, harms))} |               {' '.join(map(rate, textbook[2:]))}")


def families(rng: np.random.RandomState, runs: int) -> None:
    print("\nHolm: any wrong word among the tasks of one variant (n = 1,319, margin 1 pp)"
          "\ntasks   psi | safe: all lose the margin   one does, the others nothing | harmed: none loses")
    n, margin = 1_319, 0.01
    for tasks, psi in [(k, p) for k in (2, 4, 8) for p in (0.05, 0.2)]:
        at_margin, even = [(psi + margin) / 2, (psi - margin) / 2, 1 - psi], [psi / 2, psi / 2, 1 - psi]

        def family(chances: list[float], many: int) -> np.ndarray:
            return rng.multinomial(n, chances, (runs, many))

        def safe_p(counts: np.ndarray) -> np.ndarray:
            lost, gained, _ = np.moveaxis(counts, -1, 0)
            return np.asarray(INDEPENDENT.p_below(gained, lost, np.full(lost.shape, n), -margin))

        worst = safe_p(family(at_margin, tasks))
        mixed = np.concatenate([safe_p(family(at_margin, 1)), safe_p(family(even, tasks - 1))], axis=1)
        none = family(even, tasks)
        harm = stats.binom.cdf(none[..., 1], none[..., 0] + none[..., 1], 0.5)
        shares = rate([min(holm(p)) <= 0.05 for p in worst]), rate([holm(p)[0] <= 0.05 for p in mixed])
        print(f"{tasks:5}  {100 * psi:3.0f}% |                   {shares[0]}                         {shares[1]} |"
              f"          {rate([min(holm(p)) <= 0.05 for p in harm])}")


def drawn(rng: np.random.RandomState, runs: int) -> None:
    print("\nSeveral draws an item (an item's chances: beta, so that most are near 0 or 1)"
          "\ndraws      n  margin | safe  harmed")
    for draws, n, margin in [(k, n, m) for k in (2, 4, 8) for n, m in ((164, 0.05), (1_319, 0.02))]:
        safe, harmed = [], []
        for part in range(0, runs, 1_000):
            ours = rng.beta(0.3, 0.3, (min(1_000, runs - part), n)) * (1 - margin) + margin
            # A loss that is larger on some items: its mean is the margin, each chance stays within [0, 1].
            worse = ours - 2 * margin * (rng.uniform(size=ours.shape) < 0.5)
            worse = np.where(worse < 0, ours - margin, worse)
            first, second, third = (rng.binomial(draws, chances) / draws for chances in (ours, worse, ours))
            for delta, differences, words in ((worse.mean() - ours.mean(), second - first, safe),
                                              (0.0, third - first, harmed)):
                test, gained, lost = share_test(differences)
                p = (test.p_below if words is safe else test.p_above)(gained, lost, np.full(len(lost), n), delta)
                words.append(p <= 0.05)
        print(f"{draws:5} {n:6,}  {100 * margin:4.0f}pp | {rate(np.concatenate(safe))} {rate(np.concatenate(harmed))}")


def looked_at(rng: np.random.RandomState, runs: int, psi: float, margin: float, delta: float) -> list[Stop]:
    n, chances = SIZES[-1], [(psi - delta) / 2, 1 - psi, (psi + delta) / 2]
    return [stop(rng.choice(np.array([-1, 0, 1], dtype=np.int8), n, p=chances), margin) for _ in range(runs)]


def subjects_looked_at(rng: np.random.RandomState, runs: int, psi: float, margin: float, exact: bool) -> float:
    """Wrong `safe` when whole subjects differ (correlation 0.03): the task's own items lose exactly the margin
    (`exact`), or only the subjects that there could be do."""
    sizes, wrong = subjects(SIZES[-1]), 0
    for _ in range(runs):
        lost, gained = (int(x.sum()) for x in draw_groups(rng, 1, sizes, psi, -margin, 0.03))
        if exact:
            flips = lost + gained
            lost = int(np.ceil((flips + margin * SIZES[-1]) / 2))
            gained = max(flips - lost, 0)
        items = np.zeros(SIZES[-1], dtype=np.int8)
        items[:lost], items[lost : lost + gained] = -1, 1
        wrong += stop(rng.permutation(items), margin).word == "safe"
    return wrong / runs


def sequential(rng: np.random.RandomState, runs: int) -> None:
    print(f"\nLooking after every one of 14,042 items, {runs:,} runs"
          "\nmargin   psi | wrong safe  wrong harmed")
    for margin, psi in [(m, p) for m in (0.01, 0.02) for p in (0.05, 0.1, 0.2)]:
        at_margin, even = looked_at(rng, runs, psi, margin, -margin), looked_at(rng, runs, psi, margin, 0.0)
        print(f"{100 * margin:4.0f}pp  {100 * psi:3.0f}% |    {rate([s.word == 'safe' for s in at_margin])}"
              f"       {rate([s.word == 'harmed' for s in even])}")
    print("the same in random order where 57 subjects differ (margin 2 pp, psi 5%, correlation 0.03):"
          f"\n  wrong safe about the task's own items: {rate(subjects_looked_at(rng, runs, 0.05, 0.02, True))}"
          f"\n  about subjects that there could be:    {rate(subjects_looked_at(rng, runs, 0.05, 0.02, False))}"
          "  (not promised: a clustered test from all items makes that statement)")
    print(f"\nItems until the word, {runs // 4:,} runs (planned: a fixed number with 80% power)"
          "\nmargin   psi   delta | safe   harmed | 10%    median     90%  expected_stop  planned")
    for margin, psi, delta in [(0.02, 0.02, 0.0), (0.02, 0.05, 0.0), (0.02, 0.1, 0.0), (0.02, 0.2, 0.0),
                               (0.01, 0.05, 0.0), (0.02, 0.05, -0.01), (0.02, 0.05, -0.03), (0.02, 0.1, -0.05)]:
        stops = looked_at(rng, runs // 4, psi, margin, delta)
        low, median, high = np.percentile([s.items for s in stops], [10, 50, 90])
        safe, harmed = (100 * np.mean([s.word == word for s in stops]) for word in ("safe", "harmed"))
        expected, planned = expected_stop(psi, margin, delta=delta), items_for_noninferiority(psi, margin, delta=delta)
        print(f"{100 * margin:4.0f}pp  {100 * psi:3.0f}% {100 * delta:5.0f}pp | {safe:4.0f}%  {harmed:5.0f}% |"
              f" {low:6,.0f}  {median:7,.0f} {high:7,.0f}  {expected:13,.0f}  {planned:7,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--sequential-runs", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    begun, rng = time.monotonic(), np.random.RandomState(args.seed)
    flags = f"--runs {args.runs} --sequential-runs {args.sequential_runs} --seed {args.seed}"
    print(f"python benchmarks/verdicts.py {flags}\n\nShare of wrong words in %; * above {BAR}")
    independent(rng, args.runs)
    clustered(rng, args.runs)
    families(rng, args.runs)
    drawn(rng, args.runs)
    sequential(rng, args.sequential_runs)
    print(f"\n{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
