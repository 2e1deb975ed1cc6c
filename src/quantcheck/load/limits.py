"""What the client itself did to a window, and when that makes the window invalid.

A window is `client-limited` when one of these holds. The bounds let single hiccups of an operating system pass, which a
window of a dozen requests has and no median shows; of fewer than 50 reads nothing is said:

- schedule lag, p99 (p90 below 100 requests) above 1 ms and above 1% of the median end to end: the load came later than
  it was meant to;
- the requests took over 1% longer to send than to fall due (100 requests or more): the offered rate was not reached;
- read lag (from the kernel's receive stamp to our reading), p99 above 10 ms and above 5% of the median end to end: the
  process did not get to its sockets;
- event-loop lag (of a tick of 20 ms), with the same bounds: the process did not run;
- over 10% of the chunks read together with the one before, unless the kernel's stamps show that this was the server's
  doing: a p99 of the read lag below a tenth of the median time between reads;
- concurrency held below 90% of what was asked for, though every request ended well: streams waited for the client;
- chunks per second above 80% of what the client reached against a no-op server on this machine (calibration);
- a host that made a part of the load was lost, and what it had received with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quantcheck.load.columns import Columns, IntArray
from quantcheck.load.figures import spread
from quantcheck.load.records import Record
from quantcheck.load.window import Window

__all__ = ["client_figures", "client_limits"]

SCHEDULE_LAG_S = 0.001
SCHEDULE_LAG_SHARE = 0.01
LEAST_SENDING = 0.99
SENDING_REQUESTS = 100
READ_LAG_S = 0.010
READ_LAG_SHARE = 0.05
COALESCED = 0.10
LEAST_READS = 50
ON_TIME_SHARE = 0.1
LEAST_CONCURRENCY = 0.9
CALIBRATED_SHARE = 0.8


def client_figures(
    records: Sequence[Record], load: Columns, window: Window, *, calibration: Mapping[str, Any] | None = None,
    lost: int | None = None,
) -> dict[str, Any]:
    """The `client` of a result, without its verdict `limited`. Lags are in s, None where nothing tells them. `lost`:
    measured requests that were lost with a host of the client; None: no host was lost."""
    own = [record for record, mine in zip(records, window.own, strict=True) if mine]
    lags, gaps = _reads(own)
    figures: dict[str, Any] = {
        "stamps": {kind: sum(r.stamps == kind for r in own if r.answer.chunks) for kind in ("kernel", "user")},
        "coalesced": _coalesced(load, window),
        "reads": sum(len(record.exchange.user_ns) for record in own),
        "read_lag": spread(lags / 1e9),
        "read_gap": float(np.median(gaps)) / 1e9 if len(gaps) else None,
        "schedule_lag": None, "sending": None,
        "chunks_per_s": None,
        "calibrated_chunks_per_s": calibration.get("chunks_per_s") if calibration else None,
        "lost": lost,
    }
    if load.open_loop and window.own.any():
        due, sent = load.due[window.own], load.sent[window.own]
        figures["schedule_lag"] = spread((sent - due) / 1e9)
        if np.ptp(sent):
            figures["sending"] = {"requests": len(due), "rate_over_due": float(np.ptp(due) / np.ptp(sent))}
    if window.length_s > 0:
        inside = (load.at > window.begin_ns) & (load.at <= window.end_ns)
        figures["chunks_per_s"] = int(inside.sum()) / window.length_s
    return figures


def _reads(own: Sequence[Record]) -> tuple[IntArray, IntArray]:
    """ns from the kernel's stamp to ours, of every read that has both; ns between consecutive reads of an exchange."""
    lags, gaps = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for record in own:
        user, kernel = record.exchange.user_ns, record.exchange.kernel_ns
        lags.append((user - kernel)[kernel > 0])
        gaps.append(np.diff(user))
    return np.concatenate(lags), np.concatenate(gaps)


def _coalesced(load: Columns, window: Window) -> float | None:
    """Share of chunks, after each request's first, that were read together with the one before.

    If they were sent apart, the client was not given the CPU in time: its per-token times are then too short in the
    middle and its TTFT too long.
    """
    good = (window.own & load.ok & load.streamed)[load.row]
    later = good[1:] & (load.row[1:] == load.row[:-1])
    count = int(later.sum())
    return int((load.together[1:] & later).sum()) / count if count else None


def client_limits(result: Mapping[str, Any]) -> list[str]:
    """Reasons why the window of `result` shows the client rather than the server; none: it is valid.

    Reads `result["client"]`, to which the run adds `loop_lag`, `metrics`, `concurrency` and `outcomes`. Where a figure
    is missing its bound is not judged.
    """
    client, metrics = result["client"], result["metrics"]
    reasons: list[str] = []
    lag, bound = client.get("schedule_lag"), max(SCHEDULE_LAG_S, SCHEDULE_LAG_SHARE * metrics.get("e2e", 0.0))
    sending = client.get("sending")
    tail = "p99" if sending and sending["requests"] >= SENDING_REQUESTS else "p90"
    if lag and lag[tail] > bound:
        reasons.append(f"requests were sent late: schedule lag {tail} {_ms(lag[tail])}, bound {_ms(bound)}")
    if sending and sending["requests"] >= SENDING_REQUESTS and sending["rate_over_due"] < LEAST_SENDING:
        reasons.append(f"requests were sent at {sending['rate_over_due']:.1%} of the rate at which they fell due, "
                       f"bound {LEAST_SENDING:.0%}")
    longest = max(READ_LAG_S, READ_LAG_SHARE * metrics.get("e2e", 0.0))
    many = client.get("reads", LEAST_READS) >= LEAST_READS
    for key, what in (("read_lag", "data were read late: read lag"), ("loop_lag", "the client stood still: loop lag")):
        late = client.get(key)
        if late and (many or key == "loop_lag") and late["p99"] > longest:
            reasons.append(f"{what} p99 {_ms(late['p99'])}, bound {_ms(longest)}")
    coalesced = client.get("coalesced")
    if many and coalesced is not None and coalesced > COALESCED and not _on_time(client):
        reasons.append(f"{coalesced:.1%} of the chunks were read together with the one before, bound {COALESCED:.0%}")
    asked, held = result.get("concurrency"), metrics.get("concurrency")
    if asked and held is not None and set(result["outcomes"]) == {"ok"} and held < LEAST_CONCURRENCY * asked:
        reasons.append(f"{held:.1f} of {asked} streams were busy on average, bound {LEAST_CONCURRENCY:.0%}")
    chunks, most = client.get("chunks_per_s"), client.get("calibrated_chunks_per_s")
    if chunks is not None and most and chunks > CALIBRATED_SHARE * most:
        reasons.append(f"{chunks:,.0f} chunks/s are {chunks / most:.0%} of the {most:,.0f} that this client reached in "
                       f"calibration, bound {CALIBRATED_SHARE:.0%}")
    if client.get("lost") is not None:
        reasons.append(f"a host of the load was lost, and with it {client['lost']} measured requests or more that it "
                       "had sent")
    return reasons


def _on_time(client: Mapping[str, Any]) -> bool:
    """Whether reads followed the kernel so closely that chunks read together came together."""
    lag, gap = client.get("read_lag"), client.get("read_gap")
    if not lag or not gap or client["stamps"]["user"]:
        return False
    return float(lag["p99"]) <= ON_TIME_SHARE * float(gap)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
