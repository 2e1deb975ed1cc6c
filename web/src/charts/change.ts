// The axis of changes: linear, or beyond the margin logarithmic, so that a ruined variant does not press the rest flat.

import { scaleLinear, scaleSymlog } from "d3-scale";

export type ChangeScale = { (value: number): number; ticks: number[]; domain: [number, number] };

/** Those of `ticks` that have `room` px between them. */
export const thin = (ticks: number[], scale: (value: number) => number, room: number): number[] =>
  ticks.reduce<number[]>((kept, t) => kept.length && Math.abs(scale(t) - scale(kept.at(-1)!)) < room ? kept : [...kept, t], []);

/** Whether the largest change is so far beyond `margin` that nothing near it could be seen. */
export const isWide = (values: number[], zero: number, margin: number): boolean =>
  Math.max(...values.map((v) => Math.abs(v - zero))) > 15 * margin;

/** `zero` is no change; with `log`, changes up to `margin` are drawn evenly and those beyond by their magnitude. */
export function changeScale(
  values: number[], zero: number, margin: number, log: boolean, range: [number, number], count: number,
): ChangeScale {
  const [least, most] = [Math.min(...values, zero), Math.max(...values, zero)];
  if (!log) {
    const scale = scaleLinear([least, most === least ? least + margin : most], range).nice(count);
    return Object.assign((v: number) => scale(v), { ticks: scale.ticks(count), domain: scale.domain() as [number, number] });
  }
  const far = (v: number) => Math.max(Math.abs(v) * 1.25, margin);
  const scale = scaleSymlog([least < zero ? -far(least - zero) : -margin, most > zero ? far(most - zero) : margin], range).constant(margin);
  const [from, to] = scale.domain() as [number, number];
  const steps: number[] = [0];
  for (let step = margin; step <= Math.max(-from, to); step *= 10) steps.push(step, -step, step * 3, -step * 3);
  // 1e-12: -100 pp is -1 up to rounding.
  const ticks = steps.filter((s) => s >= from - 1e-12 && s <= to + 1e-12).toSorted((a, b) => a - b);
  return Object.assign((v: number) => scale(v - zero), { ticks: ticks.map((t) => t + zero), domain: [from + zero, to + zero] as [number, number] });
}
