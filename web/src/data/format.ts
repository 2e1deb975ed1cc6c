// Numbers as a reader sees them. Units, directions and digits are the registry's (metrics.json).

import registry from "./metrics.json";
import type { Figure } from "./summary";

export type Metric = {
  key: string; label: string; unit: string; better: string; definition: string; scale: number; digits: number;
};
const METRICS = registry as Record<string, Metric>;

export function metric(key: string): Metric {
  const found = METRICS[key];
  if (!found) throw new Error(`no metric named ${key} in the registry`);
  return found;
}

/** `of`: the figure that the value belongs to, itself or as an end of its interval: it says how many digits are shown. */
export type Format = (value: number, unit?: boolean, of?: Figure) => string;

// A formatter is dear to make and cheap to use: thousands of points each say their figures.
const FORMATS = new Map<number, Intl.NumberFormat>();

/** `digits` decimals; as many as are not 0, up to `digits`, where `least` is 0. */
export function grouped(value: number, digits: number, least = digits): string {
  const key = 100 * least + digits;
  let format = FORMATS.get(key);
  if (!format) {
    format = new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: digits });
    FORMATS.set(key, format);
  }
  return format.format(rounded(value, digits));
}

/** As comparison.md rounds: a value that lies between two goes to the even one, where `toFixed` takes the outer. */
function rounded(value: number, digits: number): number {
  const outer = value.toFixed(digits);
  const between = (Math.abs(value) * 2 ** (digits + 1)) % 2 === 1;
  return +(between && "13579".includes(outer.at(-1)!) ? (value * (1 - Number.EPSILON)).toFixed(digits) : outer);
}

/** Significant digits of a figure without an interval. */
const SIGNIFICANT = 4;

/** Decimals that a figure supports, as in comparison.md: those at which the half width of its interval shows one
 * significant digit, two when it starts with 1 or 2; at most `most`. */
export function decimals(value: number, of: Figure | undefined, most: number, scale = 1): number {
  if (of && hasInterval(of)) {
    const half = ((of.high - of.low) / 2) * scale;
    if (half <= 0) return most;
    const exponent = Math.floor(Math.log10(half));
    return Math.min(most, Math.max(0, -exponent + (half / 10 ** exponent < 3 ? 1 : 0)));
  }
  const size = Math.abs((of?.value ?? value) * scale);
  return size < 1 ? most : Math.min(most, Math.max(0, SIGNIFICANT - 1 - Math.floor(Math.log10(size))));
}

export const asMetric = (key: string): Format => (value, unit = true, of) => {
  const { scale, digits, unit: name } = metric(key);
  const text = grouped(value * scale, value === 0 ? 0 : decimals(value, of, digits, scale));
  return unit && name ? (name === "%" ? `${text}%` : `${text} ${name}`) : text;
};

/** An axis has room for fewer digits than a table. */
export const asTick = (key: string): Format => (value) => {
  const shown = value * metric(key).scale;
  return grouped(shown, Math.abs(shown) < 10 ? 2 : 0, 0);
};

const asRatioOf = (most: number): Format => (value, unit = true, of) => {
  let digits = decimals(value, of, most);
  // On which side of 1 an end lies decides the verdict: rounding must not hide it.
  const ends = of && hasInterval(of) ? [of.low, of.high] : [];
  while (digits < most && ends.some((end) => +end.toFixed(digits) === 1 && +end.toFixed(most) !== 1)) digits++;
  return value === 1 && (!ends.length || ends[0] === ends[1]) ? "1x" : `${grouped(value, digits)}${unit ? "x" : ""}`;
};
export const asRatio = asRatioOf(2);
/** Near 1 a ratio of perplexities needs more digits: 1.0004x is not 1x. */
export const asFineRatio = asRatioOf(4);
/** Without the zeros at its end: `1.0100x` is 1.01x on an axis. */
export const trimmed = (text: string): string => text.replace(/(\.\d*?)0+(?=\D*$)/, "$1").replace(/\.(?=\D*$)/, "");
/** A share as a percentage. */
export const asShare: Format = (value, unit = true, of) => grouped(value * 100, decimals(value, of, 1, 100)) + (unit ? "%" : "");
export const asCount: Format = (value) => grouped(value, 0);

/** A fraction as percentage points, signed. */
export const asPoints: Format = (value, unit = true, of) => {
  const points = value * 100;
  const text = grouped(Math.abs(points), of ? decimals(value, of, 1, 100) : 1);
  const sign = +text === 0 ? "" : points < 0 ? "\u2212" : "+";
  return sign + text + (unit ? " pp" : "");
};

const SIZES: [number, string, number][] = [[1e9, "GB", 2], [1e6, "MB", 1], [1e3, "kB", 1], [1, "B", 0]];

export const asBytes: Format = (value) => {
  const [scale, unit, digits] = SIZES.find(([least]) => Math.abs(value) >= least) ?? SIZES[3]!;
  const shown = value / scale;
  return `${grouped(shown, shown >= 100 ? 0 : shown >= 10 ? Math.min(1, digits) : digits)} ${unit}`;
};

export const hasInterval = (figure: Figure): figure is Figure & { low: number; high: number } =>
  figure.low != null && figure.high != null;

/** `1.38x (95% CI 1.32x to 1.45x)`, or `n/a (why)`. */
export function figureText(figure: Figure, format: Format): string {
  if (figure.value == null) return `n/a (${figure.reason ?? "not measured"})`;
  const value = format(figure.value, true, figure);
  if (!hasInterval(figure)) return figure.reason ? `${value} (no interval: ${figure.reason})` : value;
  return `${value} (95% CI ${format(figure.low, true, figure)} to ${format(figure.high, true, figure)})`;
}
