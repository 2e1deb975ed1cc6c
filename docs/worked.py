"""Writes docs/worked-examples.md: each figure is what the project's own function gives for the inputs shown."""
# ruff: noqa: E501  (sentences)

import math

import numpy as np

from quantcheck.engines.scorer import TopLogprobs
from quantcheck.load.intervals import wilson
from quantcheck.quality.divergence import kl_divergence, kl_lower_bound
from quantcheck.quality.windows import windows
from quantcheck.stats.apart import compare_apart, share_error
from quantcheck.stats.capacity import crossing
from quantcheck.stats.clusters import clustered_se
from quantcheck.stats.cost import token_cost, usd_per_million
from quantcheck.stats.drift import trend_floor
from quantcheck.stats.interval import ratio_of_sums
from quantcheck.stats.loglik import TokenUnits, token_mean
from quantcheck.stats.noninferiority import compare_items, holm
from quantcheck.stats.planning import (
    PERCENTILE_SUPPORT,
    items_for_noninferiority,
    minimum_detectable_difference,
)
from quantcheck.stats.ratio import pooled, speed_ratio
from quantcheck.stats.roofline import Ceiling, Work
from quantcheck.stats.sequential import paths, stop
from quantcheck.stats.slices import benjamini_hochberg
from quantcheck.stats.speed import above_noise, judge_speed
from quantcheck.stats.unpaired import two_proportions

__all__ = ["page"]


def page(note: str) -> str:
    """The whole page; `note` stands first."""
    head = ("# Worked examples\n\nSmall examples of the formulas of [methodology](methodology.md), which says when it "
            "is used and lists the sources in full. Every figure below is computed by the function that the reports use, "
            "when this page is written; a test fails when the page and the code differ.\n")
    parts = (_speed, _noise, _paired, _clusters, _holm, _planning, _sequential, _apart, _windows, _perplexity, _kl,
             _percentiles, _goodput, _cost, _roofline, _damage, _slices, _two, _capacity)
    return "\n".join([note, head, *(part() for part in parts)])


def _section(title: str, where: str, source: str, *lines: str) -> str:
    return "\n".join([f"## {title}\n", f"Source: {source}. Code: `{where}`.\n", *lines, ""])


def _speed() -> str:
    first, again = {0: 100.0, 1: 104.0, 2: 98.0}, {0: 102.0, 1: 101.0, 2: 99.0}
    variant = {0: 131.0, 1: 128.0, 2: 127.0}
    base = pooled(first, again)
    found = speed_ratio(base, variant)
    assert found is not None
    word = judge_speed(found, higher_is_better=True, margin=0.05, floor=0.01).word
    return _section(
        "Speed ratio over blocks", "stats/ratio.py", "Student's t on the blocks' log ratios, paired",
        "r_j = log(variant_j / baseline_j) of block j, baseline_j the geometric mean of its two measurements; the ratio is "
        "exp(mean r), its interval exp(mean r +- t_(k-1) s / sqrt(k)).\n",
        f"Baseline {list(first.values())} and {list(again.values())} tokens/s, variant {list(variant.values())}: the "
        f"baseline of the blocks is {', '.join(f'{x:.2f}' for x in base.values())}, the ratio {found.estimate:.3f}x "
        f"(95% CI {found.low:.3f} to {found.high:.3f}) over {found.blocks} blocks: `{word}`.")


def _noise() -> str:
    drifts = {0: math.log(102 / 100), 1: math.log(101 / 104), 2: math.log(99 / 98)}
    floor = trend_floor(drifts)
    assert floor is not None
    return _section(
        "Noise floor", "stats/drift.py, stats/speed.py", "own rule: a second condition on top of the interval",
        "The mean drift, log(later / earlier) of the baseline's two measurements, is a part of the floor. An effect that is "
        "not larger than the floor gets no `faster` or `slower`.\n",
        f"Of the baseline above it is {floor:+.4f}. Against a floor of 0.02, an effect of log(1.03) "
        f"{'counts' if above_noise(math.log(1.03), 0.02) else 'does not count'}, and one of log(1.01) "
        f"{'counts' if above_noise(math.log(1.01), 0.02) else 'does not count'}.")


def _paired() -> str:
    baseline = np.array([True] * 192 + [False] * 8)
    variant = baseline.copy()
    variant[:6] = False
    variant[-2:] = True
    found = compare_items(baseline, variant, margin=0.05)
    return _section(
        "Paired items: McNemar, Tango, non-inferiority", "stats/paired.py, stats/noninferiority.py",
        "McNemar 1947 in its exact form; Tango 1998",
        "delta = (c - b) / n. p = min(1, 2 P[Bin(b + c, 1/2) <= min(b, c)]). The interval holds all differences that the "
        "score test does not reject; p_safe tests a loss of the margin or more, p_harmed tests no loss.\n",
        f"n = {found.flips.n}, lost b = {found.flips.lost}, gained c = {found.flips.gained}, margin 5 points: delta "
        f"{found.delta:+.3f} (95% CI {found.low:+.4f} to {found.high:+.4f}), McNemar p = {found.p:.4f}, p_safe = "
        f"{found.p_safe:.4f}, p_harmed = {found.p_harmed:.4f}.")


def _clusters() -> str:
    groups = [str(i // 4) for i in range(40)]
    differences = np.array([-1.0] * 4 + [0.0] * 32 + [-1.0] * 4)
    naive = float(np.std(differences, ddof=1) / math.sqrt(40))
    return _section(
        "Clustered standard error", "stats/clusters.py", "Miller 2024, with G / (G - 1)",
        "SE = sqrt(G / (G - 1) x sum over groups of (sum of residuals)^2) / n.\n",
        f"40 items in 10 groups of 4; all items of two groups were lost: SE {clustered_se(differences, groups):.4f}, where "
        f"independent items would give {naive:.4f}. Verdicts use the corrected form (CR3) that methodology describes.")


def _holm() -> str:
    p = [0.004, 0.03, 0.02, 0.4]
    return _section(
        "Holm", "stats/noninferiority.py", "Holm 1979",
        "The i-th smallest of m p-values is multiplied by m - i + 1, made to rise, and cut at 1.\n",
        f"{p} becomes {[round(x, 4) for x in holm(p)]}: at 5% only the first stands.")


def _planning() -> str:
    return _section(
        "Items needed", "stats/planning.py", "the normal approximation of the paired test",
        "Smallest change found: (z_0.975 + z_0.8) sqrt(psi / n). Items for `safe`: psi (z_0.95 + z_0.8)^2 / margin^2.\n",
        f"psi = 0.04: 1,000 items find a change of {100 * minimum_detectable_difference(0.04, 1000):.2f} points with 80% "
        f"power; a margin of 1 point takes {items_for_noninferiority(0.04, 0.01):,.0f} items.")


def _sequential() -> str:
    differences = np.zeros(400)
    found = stop(differences, 0.02)
    two = paths(differences[:2], 0.02)[0]
    return _section(
        "Ending early", "stats/sequential.py", "Ville 1939; Waudby-Smith and Ramdas 2024",
        "E = mean over bets lambda of prod(1 + lambda (D_i + margin)); `safe` when E reaches tasks / 0.05.\n",
        f"No item flips, margin 2 points, one task: E is {math.exp(two[1]):.4f} after two items, reaches 20 after "
        f"{found.items} items, and the word is `{found.word}`.")


def _apart() -> str:
    ours, theirs = 0.80, 0.77
    errors = share_error(ours, 1000), share_error(theirs, 1000)
    found = compare_apart((ours, errors[0]), (theirs, errors[1]), 1000, margin=0.02)
    return _section(
        "Imported scores without items", "stats/apart.py", "Agresti and Coull 1998",
        "se = sqrt(p (1 - p) / (n + 4)), p = (right + 2) / (n + 4); the difference has sqrt(se_A^2 + se_B^2).\n",
        f"80.0% and 77.0% of 1,000 items: errors {errors[0]:.5f} and {errors[1]:.5f}, delta {found.delta:+.3f} (95% CI "
        f"{found.low:+.4f} to {found.high:+.4f}).")


def _windows() -> str:
    found = list(windows([np.arange(12)], context=6, stride=3))
    shown = "; ".join(f"{w.tokens[0]} to {w.tokens[-1]}, the last {w.scored} scored" for w in found)
    return _section(
        "Perplexity windows", "quality/windows.py", "strided perplexity as in the transformers documentation",
        "Each window scores its last `stride` tokens, the first all of its tokens but the first.\n",
        f"A document of tokens 0 to 11, context 6, stride 3: {shown}. Scored are {sum(w.scored for w in found)} tokens, each "
        "once.")


def _perplexity() -> str:
    sums, counts = np.array([21.0, 33.0, 19.5, 44.0]), np.array([10.0, 15.0, 10.0, 20.0])
    found = ratio_of_sums(sums, counts).map_exp()
    return _section(
        "Perplexity and its interval", "stats/interval.py, stats/loglik.py", "Cochran 1977, equation 6.9",
        "exp(sum of negative log-likelihoods / tokens); the interval is that of a ratio of sums over documents.\n",
        f"Documents with sums {sums.tolist()} nats over {counts.astype(int).tolist()} tokens: perplexity "
        f"{found.estimate:.3f} (95% CI {found.low:.3f} to {found.high:.3f}).")


def _kl() -> str:
    p, q = np.array([[0.5, 0.3, 0.15, 0.05]]), np.array([[0.4, 0.4, 0.1, 0.1]])
    full = float(kl_divergence(np.log(p), np.log(q))[0][0])
    ids = np.array([[0, 1]], dtype=np.int32)
    top = [TopLogprobs(np.log(x[:, 0]), ids, np.log(x[:, :2])) for x in (p, q)]
    bound = float(kl_lower_bound(top[0], top[1], 4)[0][0])
    assert bound <= full
    return _section(
        "KL divergence and its bound from the likeliest tokens", "quality/divergence.py",
        "Kullback and Leibler 1951; Cover and Thomas, theorems 2.7.1 and 2.8.1",
        "sum P log(P / Q). With only the tokens K known, all others count as one: never more than the full divergence.\n",
        f"P = {p[0].tolist()}, Q = {q[0].tolist()}: {full:.5f} nats; from the first two tokens alone {bound:.5f}.")


def _percentiles() -> str:
    rows = "\n".join(f"| {name} | {n:,} |" for name, n in PERCENTILE_SUPPORT.items())
    return _section(
        "Percentiles' least number of requests", "stats/planning.py", "binomial distribution of the samples beyond it",
        "The fewest n with P[Bin(n, 1 - q) <= 1] <= 0.01.\n", f"| percentile | requests |\n|---|---|\n{rows}")


def _goodput() -> str:
    low, high = wilson(188, 200)
    return _section(
        "SLO attainment and goodput", "load/goodput.py, load/intervals.py", "Wilson 1927",
        "Goodput is the good requests of a window over its length.\n",
        f"188 of 200 requests met the SLO in 40 s: goodput {188 / 40:.2f} requests/s, attainment {188 / 200:.1%} (95% CI "
        f"{low:.1%} to {high:.1%}).")


def _cost() -> str:
    found = token_cost(1500, 1400, 1600, 2.5)
    assert found.low is not None
    assert found.high is not None
    return _section(
        "Cost", "stats/cost.py", "arithmetic",
        "USD an hour / 3600 / tokens a second x 1,000,000.\n",
        f"2.50 USD an hour at 1,500 tokens/s (1,400 to 1,600): {usd_per_million(1500, 2.5):.3f} USD per million tokens "
        f"({found.low:.3f} to {found.high:.3f}).")


def _roofline() -> str:
    work, ceiling, took = Work(bytes=14.5e9, flops=8 * 14.5e9), Ceiling(bandwidth=3.0e12, compute=800e12), 0.0062
    return _section(
        "Roofline, MBU and MFU", "stats/roofline.py, stats/explanation.py", "Williams, Waterman and Patterson 2009",
        "A step takes at least max(bytes / bandwidth, FLOP / compute). MBU and MFU are the two terms over the time that the "
        "step took.\n",
        f"14.5 GB and 116 GFLOP a step at 3.0 TB/s and 800 TFLOP/s: {1e3 * work.memory_s(ceiling):.3f} ms to move, "
        f"{1e3 * work.compute_s(ceiling):.3f} ms to compute, least {1e3 * work.least_s(ceiling):.3f} ms. Measured at 6.2 ms, "
        f"MBU is {work.memory_s(ceiling) / took:.1%} and MFU {work.compute_s(ceiling) / took:.1%}.")


def _damage() -> str:
    units = TokenUnits(np.array([0, 0, 1, 1, 2, 2]), 3, "document")
    of_one = np.array([0.02, 0.04, 0.01, 0.03, 0.05, 0.03])
    of_all = np.array([0.10, 0.12, 0.08, 0.11, 0.16, 0.15])
    one, whole = token_mean(of_one, units), token_mean(of_all, units)
    return _section(
        "A module's damage (locate)", "report/located.py", "Cochran 1977, equation 6.9, over documents",
        "The mean divergence of the baseline with that one module of the variant; its share is of the whole variant's. With "
        "`reverse`: what the variant's divergence loses when that module alone is the baseline's.\n",
        f"Six tokens in three documents: with the one module {of_one.tolist()} nats, with the whole variant {of_all.tolist()}. "
        f"The module's damage is {one.estimate:.4f} nats per token (95% CI {one.low:.4f} to {one.high:.4f}), "
        f"{one.estimate / whole.estimate:.0%} of the variant's {whole.estimate:.4f}.")


def _slices() -> str:
    p = [0.004, 0.03, 0.02, 0.4]
    return _section(
        "Slices", "stats/slices.py", "Benjamini and Hochberg 1995",
        "The i-th smallest of m p-values is multiplied by m / i, made to rise from the largest down.\n",
        f"{p} becomes q = {[round(x, 4) for x in benjamini_hochberg(p)]}.")


def _two() -> str:
    found = two_proportions(160, 200, 150, 200)
    return _section(
        "The same items as if unpaired", "stats/unpaired.py", "Fleiss, Levin and Paik 2003, chapter 3",
        "z is the difference over the pooled error sqrt(p (1 - p) (1 / n_A + 1 / n_B)).\n",
        f"160 and 150 of 200: delta {found.delta:+.3f} (95% CI {found.low:+.4f} to {found.high:+.4f}), z = {found.z:.3f}, p = "
        f"{found.p:.4f}.")


def _capacity() -> str:
    found = crossing(np.array([1.0, 8.0, 32.0]), np.array([1.0, 0.98, 0.70]), 0.95)
    return _section(
        "Capacity", "stats/capacity.py", "own rule: isotonic regression, linear in the load's logarithm",
        "The load at which the share of good requests falls to the SLO's share.\n",
        f"Shares 100%, 98% and 70% at 1, 8 and 32 streams, SLO share 95%: {found.load:.2f} streams (`{found.bound}`).")
