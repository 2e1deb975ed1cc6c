"""What tokens cost: throughput and the price of an hour in, USD per million tokens out.

Three prices share one bill, an hour of the hardware, and differ in what they divide it by: the output tokens of that
hour, its input tokens, or both together (blended, at the workload's own mix). They are not parts that add up. A price
falls as throughput rises, so the ends of a throughput's interval change places.

The hardware is taken as busy all the time: an idle hour costs as much, and no figure here knows how many there are.
"""

from dataclasses import dataclass

__all__ = ["MILLION", "Cost", "amortised", "token_cost", "usd_per_million"]

MILLION = 1e6
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Cost:
    """USD per million tokens; `low` and `high` are None together where the throughput has no interval."""

    estimate: float
    low: float | None
    high: float | None


def usd_per_million(tokens_per_s: float, hour_usd: float) -> float:
    """USD for a million tokens at `tokens_per_s` on hardware that costs `hour_usd` an hour.

    hour_usd / 3600 / tokens_per_s x 1e6. Raises `ValueError` for a throughput that is not positive.
    """
    if not tokens_per_s > 0:
        raise ValueError(f"no price follows from {tokens_per_s} tokens/s")
    return hour_usd / SECONDS_PER_HOUR / tokens_per_s * MILLION


def token_cost(tokens_per_s: float, low: float | None, high: float | None, hour_usd: float) -> Cost:
    """The price at a throughput (tokens/s) with its interval `low` to `high`.

    A lower end of the throughput that is not positive leaves the price without an upper end, so without an interval.
    """
    estimate = usd_per_million(tokens_per_s, hour_usd)
    if low is None or high is None or low <= 0:
        return Cost(estimate, None, None)
    return Cost(estimate, usd_per_million(high, hour_usd), usd_per_million(low, hour_usd))


def amortised(seconds: float, hour_usd: float, tokens: float) -> float:
    """USD per million tokens of `seconds` of work that is done once, spread over `tokens` tokens.

    seconds / 3600 x hour_usd / tokens x 1e6. Raises `ValueError` when there are no tokens to spread it over.
    """
    if not tokens > 0:
        raise ValueError("a cost cannot be spread over no tokens")
    return seconds / SECONDS_PER_HOUR * hour_usd / tokens * MILLION
