"""What a variant's output tokens cost at each load: whether a saving holds as the load grows."""

from collections import Counter
from collections.abc import Sequence

from quantcheck.report.blocks import THROUGHPUT, figures_by_block, noise_of
from quantcheck.report.cells import CellIndex
from quantcheck.report.costs import compared, cost_of, usd_by_block, workload_of
from quantcheck.report.summary import Figure, LoadCostRow, SpeedRow

__all__ = ["load_cost_rows"]


def load_cost_rows(index: CellIndex, speed: Sequence[SpeedRow]) -> list[LoadCostRow]:
    """A row per load and variant, of workloads with several loads; none without a price.

    `speed` gives the throughputs. The hour is taken as busy all through at that load.
    """
    price = index.experiment.policy.price
    if price is None:
        return []
    throughput = {(row.load, row.variant): row for row in speed if row.metric == THROUGHPUT}
    several = Counter(map(workload_of, index.loads))
    return [_row(index, throughput[load, variant], price.hour_usd(variant), price.hour_usd(index.baseline))
            for load in index.loads if several[workload_of(load)] > 1
            for variant in index.variants if (load, variant) in throughput]


def _row(index: CellIndex, speed: SpeedRow, hour: float, baseline_hour: float) -> LoadCostRow:
    output = cost_of(speed.value, hour)
    if speed.variant == index.baseline:
        return LoadCostRow(load=speed.load, variant=speed.variant, output=output, word=None,
                           ratio=Figure(reason="is the baseline"))
    base, own = (usd_by_block(index, name, figures_by_block(index, name, speed.load, THROUGHPUT), usd_hour)
                 for name, usd_hour in ((index.baseline, baseline_hour), (speed.variant, hour)))
    ratio, word, reason = compared(index, base, own, noise_of(index, index.baseline, speed.load, THROUGHPUT))
    if ratio.value is None:
        reason = output.reason or reason
        ratio = Figure(reason=reason)
    return LoadCostRow(load=speed.load, variant=speed.variant, output=output, ratio=ratio, word=word, reason=reason)
