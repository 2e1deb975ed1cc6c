// Which points are worth a look where more is better on both axes. A difference counts where intervals are apart; where
// a figure has none, by its value.

import { hasInterval } from "./format";
import type { Figure } from "./run";

export type Spot = { x: Figure; y: Figure };

const beats = (a: Figure, b: Figure): boolean =>
  hasInterval(a) && hasInterval(b) ? a.low > b.high : a.value! > b.value!;

/** For each spot whether another is at least as good on both axes, and on one of them better beyond its interval. */
export function dominated(spots: Spot[]): boolean[] {
  return spots.map((p) => spots.some((q) =>
    q.x.value! >= p.x.value! && q.y.value! >= p.y.value! && (beats(q.x, p.x) || beats(q.y, p.y))));
}

/** The spots that no other has beaten on both axes by its value, from left to right: a line that only falls. */
export function staircase<S extends Spot>(spots: S[]): S[] {
  const kept: S[] = [];
  for (const spot of spots.toSorted((a, b) => b.x.value! - a.x.value! || b.y.value! - a.y.value!)) {
    if (!kept.length || spot.y.value! > kept.at(-1)!.y.value!) kept.push(spot);
  }
  return kept.reverse();
}
