import { hasInterval } from "@/data/format";
import type { Figure } from "@/data/run";

/** How far an interval may stretch an axis beyond the largest value (on a log axis: below the least): a wide one of few
 * blocks would press everything else flat. */
const STRETCH = 2;

const known = (values: (number | null | undefined)[]) => values.filter((v): v is number => v != null);

/** The end of an axis that holds all values and extra values whole, and of the intervals what does not hide them. */
export function axisEnd(figures: Figure[], extra: (number | null | undefined)[] = []): number {
  const values = Math.max(...known(figures.map((f) => f.value)), ...known(extra));
  return Math.max(values, Math.min(STRETCH * values, Math.max(...known(figures.map((f) => f.high)), -Infinity)));
}

/** The same for the beginning of a log axis: positive. */
export function axisBegin(figures: Figure[], extra: (number | null | undefined)[] = []): number {
  const values = Math.min(...known([...figures.map((f) => f.value), ...extra]).filter((v) => v > 0));
  return Math.min(values, Math.max(values / STRETCH, Math.min(...known(figures.map((f) => f.low)).filter((v) => v > 0), Infinity)));
}

/** Whether some interval reaches beyond such an axis. */
export const isCut = (figures: Figure[], extra: (number | null | undefined)[] = []): boolean =>
  figures.some((f) => hasInterval(f)) && Math.max(...known(figures.map((f) => f.high))) > axisEnd(figures, extra);

type Place = { scale: (v: number) => number; range: [number, number]; upright?: boolean };

/** An interval along one axis, `[from, to]` in px, as a path; where it reaches beyond, an arrow says so. */
export function whisker(figure: Figure, at: number, { scale, range, upright }: Place): string {
  if (!hasInterval(figure)) return "";
  const [least, most] = range[0] < range[1] ? range : [range[1], range[0]];
  const px = (v: number) => { const found = scale(v); return Number.isFinite(found) ? found : range[0]; };
  const ends = [px(figure.low), px(figure.high)];
  const [from, to] = ends.map((p) => Math.min(most, Math.max(least, p))) as [number, number];
  const line = upright ? `M${at},${from}V${to}` : `M${from},${at}H${to}`;
  const arrows = ends.map((p, i) => {
    if (p >= least - 0.5 && p <= most + 0.5) return "";
    const tip = i === 0 ? from : to;
    const back = tip + (p > most ? -6 : 6);
    return upright ? `M${at - 3.5},${back}L${at},${tip}L${at + 3.5},${back}` : `M${back},${at - 3.5}L${tip},${at}L${back},${at + 3.5}`;
  }).join("");
  return line + arrows;
}

/** Intervals of one colour: a single path, as a chart may have hundreds. */
export const Whiskers = ({ d, colour }: { d: string; colour: string }) => d ? <path className="whisker" stroke={colour} d={d} /> : null;

export const CUT = "An arrow: the interval reaches beyond the axis; its ends are in the table.";
