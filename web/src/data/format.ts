// Numbers as a reader sees them. Units, directions and digits are the registry's (metrics.json).

import registry from "./metrics.json";
import type { Figure } from "./run";

export type Metric = {
  key: string; label: string; unit: string; better: string; definition: string; scale: number; digits: number;
};
const METRICS = registry as Record<string, Metric>;

export function metric(key: string): Metric {
  const found = METRICS[key];
  if (!found) throw new Error(`no metric named ${key} in the registry`);
  return found;
}

export type Format = (value: number, unit?: boolean) => string;

// A formatter is dear to make and cheap to use: thousands of points each say their figures.
const FORMATS = new Map<number, Intl.NumberFormat>();

export function grouped(value: number, digits: number): string {
  let format = FORMATS.get(digits);
  if (!format) {
    format = new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    FORMATS.set(digits, format);
  }
  return format.format(value);
}

export const asMetric = (key: string): Format => (value, unit = true) => {
  const { scale, digits, unit: name } = metric(key);
  return grouped(value * scale, digits) + (unit && name ? ` ${name}` : "");
};

/** An axis has room for fewer digits than a table. */
export const asTick = (key: string): Format => (value) => {
  const shown = value * metric(key).scale;
  return shown.toLocaleString("en-US", { maximumFractionDigits: Math.abs(shown) < 10 ? 2 : 0 });
};

export const asRatio: Format = (value) => `${grouped(value, Math.abs(value) >= 10 ? 1 : 2)}x`;
/** Near 1 a ratio of perplexities needs more digits: 1.0004x is not 1x. */
export const asFineRatio: Format = (value) => Math.abs(value - 1) < 0.1 ? `${grouped(value, 4)}x` : asRatio(value);
export const asCount: Format = (value) => grouped(value, 0);

/** A fraction as percentage points, signed. */
export const asPoints: Format = (value, unit = true) => {
  const points = value * 100;
  const text = grouped(Math.abs(points), 1);
  const sign = text === "0.0" ? "" : points < 0 ? "\u2212" : "+";
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
  const value = format(figure.value);
  if (!hasInterval(figure)) return figure.reason ? `${value} (no interval: ${figure.reason})` : value;
  return `${value} (95% CI ${format(figure.low)} to ${format(figure.high)})`;
}
