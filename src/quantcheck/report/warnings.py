"""Anti-patterns: what makes a comparison worth less than it looks, found in what was measured. One table."""

from collections.abc import Iterator

from quantcheck.report import figures
from quantcheck.report.cells import short_names
from quantcheck.report.gpu import clock_lines, has_gpu, windows_at
from quantcheck.report.gpu_warnings import GPU_PATTERNS
from quantcheck.report.pattern import Pattern, Seen
from quantcheck.report.summary import WarningRow
from quantcheck.spec.arguments import unlike_arguments
from quantcheck.spec.experiment import LlamaCppEngine
from quantcheck.stats import items_for_noninferiority, minimum_detectable_difference

__all__ = ["PATTERNS", "warning_rows"]

OVERLAP_SHARE = 0.01
"""Of a task's items, or of a corpus's runs of words: one in a hundred may be a common phrase."""
CACHED_SHARE = 0.01
"""Of the prompts' tokens; a begin mark that all prompts share stays below it."""
CLOCK_RATIO = 1.1
SIZE_RATIO = 1.01
BEYOND_AVX2 = ("avx_vnni", "avx512", "amx")
SAVED = 0.2
"""Of the baseline's resident memory: a saving of weights from here on should be seen in it."""
SEEN_OF_SAVED = 0.25


def warning_rows(seen: Seen) -> list[WarningRow]:
    """A row for every anti-pattern that holds, in the table's order."""
    rows = []
    for pattern in PATTERNS:
        texts = list(pattern.find(seen))
        if texts:
            more = f" (and {len(texts) - 1} more like it)" if len(texts) > 1 else ""
            rows.append(WarningRow(key=pattern.key, text=texts[0] + more, remedy=pattern.remedy))
    return rows


def _client_limited(seen: Seen) -> Iterator[str]:
    for problem in seen.index.problems:
        if problem.reason.startswith("invalid (client-limited)"):
            yield f"{problem.what} is left out, {problem.reason}"


def _other_client(seen: Seen) -> Iterator[str]:
    told = {f"GuideLLM {result['client']['version']}" for load in seen.index.loads
            for _, _, record in windows_at(seen.index, load)
            if (result := record["result"]).get("measured_by") == "guidellm"}
    if told:
        yield (f"speed was measured by {' and '.join(sorted(told))}, by the wall clock and in user space: a request's "
               "first and last token have a time, single gaps (ITL) have none, and what limits that client is not seen")


def _failed(seen: Seen) -> Iterator[str]:
    for row in seen.loads:
        if row.failed:
            where = f"{row.variant} at {row.load}"
            yield f"{where}: {row.failed} of {row.requests} requests failed; they count in no latency"


def _twin_moved(seen: Seen) -> Iterator[str]:
    if seen.twin in ("faster", "slower"):
        yield (f"the baseline measured again came out {seen.twin} than itself: "
               "something outside the variants moves this machine's speed")


def _clocks(seen: Seen) -> Iterator[str]:
    for load in seen.index.loads:
        told = [record.get("telemetry", {}).get("cpu_mhz") for _, _, record in windows_at(seen.index, load)]
        medians = [float(clock["median"]) for clock in told if clock]
        if medians and max(medians) > CLOCK_RATIO * min(medians):
            yield f"the CPU's clock moved between {min(medians):,.0f} and {max(medians):,.0f} MHz at {load}"
    for load in seen.index.loads:
        yield from clock_lines(load, windows_at(seen.index, load))


def _few_blocks(seen: Seen) -> Iterator[str]:
    experiment = seen.index.experiment
    if seen.index.loads and len(seen.index.variants) > 1 and experiment.blocks < 3:
        yield "fewer than 3 blocks: speed intervals are very wide or missing"


def _no_warmup(seen: Seen) -> Iterator[str]:
    load = seen.index.experiment.load
    if load is not None and load.warmup_requests == 0:
        yield "no request warms the engine up: the first answers of a window pay for what later ones find ready"


def _same_prompts(seen: Seen) -> Iterator[str]:
    """The twin is sent the baseline's prompts, and a server that kept running may hold them."""
    experiment = seen.index.experiment
    if experiment.engine.kind == "openai" and experiment.noise_floor and seen.index.loads:
        told = {record["result"].get("token_counts", {}).get("prompt_cached") for load in seen.index.loads
                for _, _, record in windows_at(seen.index, load)}
        if None in told:
            yield (f"{seen.index.again} is sent the prompts of {seen.index.baseline} again, to the same running "
                   "server, which does not tell whether a prefix cache answered for it")


def _one_load(seen: Seen) -> Iterator[str]:
    load = seen.index.experiment.load
    points = [] if load is None else load.points()
    at = {(point.concurrency, point.rate) for point in points}
    if len(at) == 1 and at != {(None, None)}:
        ((streams, rate),) = at
        where = f"{streams} stream{'' if streams == 1 else 's'}" if streams is not None else f"{rate:g} requests/s"
        yield f"speed was measured at {where} only: what is faster there may be slower under another load"


def _prefix_cache(seen: Seen) -> Iterator[str]:
    load = seen.index.experiment.load
    random = {point.subject for point in (load.points() if load else ())
              if point.workload.prompt_tokens is not None and not point.workload.shared_prefix}
    for subject in seen.index.loads:
        if subject not in random:
            continue
        counts = [(record["result"].get("token_counts", {}).get("prompt_cached"), record["result"].get("prompt_tokens"))
                  for _, _, record in windows_at(seen.index, subject)]
        cached, sent = sum(c or 0 for c, _ in counts), sum(s or 0 for c, s in counts if c is not None)
        if sent and cached > CACHED_SHARE * sent:
            yield (f"{cached / sent:.0%} of the random prompts' tokens at {subject} came from a prefix cache: "
                   "work was skipped that real prompts would cause")


def _overlap(seen: Seen) -> Iterator[str]:
    for row in seen.overlaps:
        documents = row["unit"] == "documents"
        part = row["share"] if documents else row["found"] / row["judged"] if row["judged"] else 0.0
        if part >= OVERLAP_SHARE:
            yield (f"{row['suite']} overlaps the calibration text {row['calibration']}: {row['found']} of "
                   f"{row['judged']} {row['unit']} share 13 words in a row with it")


def _sizes(seen: Seen) -> Iterator[str]:
    known = {name: count for name in seen.index.variants
             if (count := seen.artifacts.get(name, {}).get("parameters")) is not None}
    base = known.get(seen.index.baseline)
    for name, count in known.items():
        if base and max(count, base) > SIZE_RATIO * min(count, base):
            yield (f"{name} has {count / 1e6:,.1f} million weights, {seen.index.baseline} {base / 1e6:,.1f}: "
                   "these are two models, not two formats of one")


def _one_benchmark(seen: Seen) -> Iterator[str]:
    index = seen.index
    judged = index.tasks or index.corpora
    if len(judged) == 1 and len(index.variants) > 1:
        yield f"the words on quality rest on one benchmark, {judged[0]}: other skills may break first"


def _harmed_text(seen: Seen) -> Iterator[str]:
    """Tasks decide a variant's word, so that a text on which it lost more than the margin would go without saying."""
    names = short_names(dict.fromkeys(row.corpus for row in seen.corpora))
    safe = {row.name for row in seen.variants if row.quality.basis == "tasks" and row.quality.word == "safe"}
    for row in seen.corpora:
        if row.word == "harmed" and row.variant in safe:
            yield (f"{row.variant} is safe on every task and harmed on the text {names[row.corpus]}: perplexity "
                   f"{figures.ratio(row.ratio, 4)}, 95% CI {figures.interval(row.ratio, 4)}; what it lost there no "
                   "task shows")


def _too_few_items(seen: Seen) -> Iterator[str]:
    names = short_names(dict.fromkeys(row.task for row in seen.tasks))
    harmed = {row.variant for row in seen.tasks if row.word == "harmed"}  # more items would not change their word
    needs = []
    for row in seen.tasks:
        if row.variant in harmed:
            continue
        if row.word == "inconclusive" and row.detectable is not None and row.n:
            margin = seen.index.experiment.policy.margin.accuracy(row.task)
            psi = row.n * (row.detectable / minimum_detectable_difference(1.0, 1)) ** 2
            together = sum(other.variant == row.variant for other in seen.tasks)
            needed = items_for_noninferiority(psi, margin, alpha=0.05 / together) * (row.design_effect or 1.0)
            if needed > row.n:
                needs.append((needed / row.n, row, int(needed), margin))
    for _, row, needed, margin in sorted(needs, key=lambda need: -need[0]):
        yield (f"{names[row.task]} has {row.n:,} items for {row.variant}, a margin of {margin * 100:g} pp takes about "
               f"{figures.about(needed)}")


def _greedy(seen: Seen) -> Iterator[str]:
    index, quality = seen.index, seen.index.experiment.quality
    if quality is None or quality.sampling is not None:
        return
    cells = {task: index.quality(index.baseline, task) for task in index.tasks}
    written = [task for task, cell in cells.items() if cell and cell.record["result"].get("answers") == "written"]
    if written:
        names = short_names(index.tasks)
        yield (f"written answers ({', '.join(names[task] for task in written)}) are greedy only: "
               "what a temperature would do to them is not seen")


def _peak_memory(seen: Seen) -> Iterator[str]:
    base = next((row for row in seen.memory if row.variant == seen.index.baseline), None)
    if has_gpu(seen.index):  # the weights are not in the host's memory
        return
    if base is None or base.rss_bytes.value is None or base.weights_bytes.value is None:
        return
    for row in seen.memory:
        if row.rss_bytes.value is None or row.weights_bytes.value is None:
            continue
        saved = base.weights_bytes.value - row.weights_bytes.value
        if saved >= SAVED * base.rss_bytes.value and base.rss_bytes.value - row.rss_bytes.value < SEEN_OF_SAVED * saved:
            yield (f"{row.variant}'s weights are {saved / 1e9:,.2f} GB smaller, its resident memory only "
                   f"{(base.rss_bytes.value - row.rss_bytes.value) / 1e9:,.2f} GB: that is a peak which the engine "
                   "reserves, not what the variant needs")


def _unfinished(seen: Seen) -> Iterator[str]:
    if not seen.cells.finished:
        yield (f"{seen.cells.stored} of {seen.cells.planned} cells are stored: the run was interrupted, or still goes "
               "on, and every word rests on those alone")


def _unlike_options(seen: Seen) -> Iterator[str]:
    for name, told in unlike_arguments(seen.index.experiment).items():
        yield f"{name} was served with other options than the baseline, {told}: the ratio is not its format's alone"


def _portable_build(seen: Seen) -> Iterator[str]:
    engine = seen.index.experiment.engine
    more = [flag for flag in seen.environment.get("cpu_flags") or () if flag.startswith(BEYOND_AVX2)]
    if isinstance(engine, LlamaCppEngine) and engine.build == "wheel" and seen.index.loads and more:
        yield (f"speed is of llama.cpp's wheel, whose code knows AVX2 and not this processor's {', '.join(more)}: "
               "compiled for it, the ratios between formats can be others")


PATTERNS: tuple[Pattern, ...] = (
    Pattern("unfinished", _unfinished, "run the experiment again: it goes on where it stopped"),
    Pattern("client_limited", _client_limited, "use fewer streams, or give the client more free cores"),
    Pattern("other_client", _other_client, "leave load.with out to measure with quantcheck's own client"),
    Pattern("failed_requests", _failed, "lower the load, or find the cause in logs/"),
    Pattern("baseline_moved", _twin_moved, "end other programs and measure again, with more blocks"),
    Pattern("clocks_moved", _clocks, "fix the clocks or cool the machine, and measure again"),
    *GPU_PATTERNS,
    Pattern("portable_build", _portable_build,
            "compile it (minutes): quantcheck engines install llama.cpp, then give engine.build: native"),
    Pattern("few_blocks", _few_blocks, "give blocks: 5 or more"),
    Pattern("no_warmup", _no_warmup, "give load.warmup_requests: 1 or more"),
    Pattern("one_load", _one_load, "add others to load.concurrency, such as [1, 8, 32]"),
    Pattern("same_prompts", _same_prompts, "start the servers without a prefix cache (vLLM: "
                                           "--no-enable-prefix-caching)"),
    Pattern("prefix_cache", _prefix_cache, "turn the engine's prefix caching off, or measure real prompts"),
    Pattern("calibration_overlap", _overlap, "calibrate on another text, or leave the suite out"),
    Pattern("unlike_options", _unlike_options, "give all variants the same engine.args"),
    Pattern("unlike_sizes", _sizes, "compare variants of one model"),
    Pattern("one_benchmark", _one_benchmark, "add suites of other kinds to quality.suites"),
    Pattern("harmed_text", _harmed_text, "add a task of that kind to quality.suites, or set "
                                         "policy.margin.perplexity_ratio to what does not matter"),
    Pattern("too_few_items", _too_few_items, "raise quality.items, or policy.margin if more loss is acceptable"),
    Pattern("greedy_only", _greedy, "give quality.sampling, if the model is used at a temperature"),
    Pattern("peak_memory", _peak_memory, "compare the weights and the KV cache instead"),
)
"""Every anti-pattern: key, condition with its figures, remedy."""
