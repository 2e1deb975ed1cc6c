"""Statistics: arrays in, numbers and verdict words out. Pure: no files, no clocks, no global state."""

from quantcheck.stats.capacity import Crossing, crossing, interpolated, summarize_crossings
from quantcheck.stats.drift import invalid_blocks, mean_by_block, trend_floor
from quantcheck.stats.interval import Interval, ratio_of_sums, t_interval, weighted_mean
from quantcheck.stats.loglik import (
    TokenUnits,
    judge_perplexity,
    perplexity,
    perplexity_ratio,
    token_mean,
    token_units,
)
from quantcheck.stats.noninferiority import (
    PairedResult,
    QualityVerdict,
    QualityWord,
    compare_items,
    holm,
    judge_tasks,
)
from quantcheck.stats.paired import Flips, count_flips, mcnemar_p, score_interval
from quantcheck.stats.planning import (
    PERCENTILE_SUPPORT,
    items_for_noninferiority,
    items_to_detect,
    minimum_detectable_difference,
    requests_for_percentile,
    supported_percentile,
)
from quantcheck.stats.ratio import Ratio, block_log_ratios, geometric_mean, pooled, ratio_interval, speed_ratio
from quantcheck.stats.speed import SpeedVerdict, SpeedWord, above_noise, blocks_to_settle, judge_speed

__all__ = [
    "PERCENTILE_SUPPORT",
    "Crossing",
    "Flips",
    "Interval",
    "PairedResult",
    "QualityVerdict",
    "QualityWord",
    "Ratio",
    "SpeedVerdict",
    "SpeedWord",
    "TokenUnits",
    "above_noise",
    "block_log_ratios",
    "blocks_to_settle",
    "compare_items",
    "count_flips",
    "crossing",
    "geometric_mean",
    "holm",
    "interpolated",
    "invalid_blocks",
    "items_for_noninferiority",
    "items_to_detect",
    "judge_perplexity",
    "judge_speed",
    "judge_tasks",
    "mcnemar_p",
    "mean_by_block",
    "minimum_detectable_difference",
    "perplexity",
    "perplexity_ratio",
    "pooled",
    "ratio_interval",
    "ratio_of_sums",
    "requests_for_percentile",
    "score_interval",
    "speed_ratio",
    "summarize_crossings",
    "supported_percentile",
    "t_interval",
    "token_mean",
    "token_units",
    "trend_floor",
    "weighted_mean",
]
