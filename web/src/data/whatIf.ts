// What tokens cost at an SLO that the reader moves: out of the measured loads, and between two of them by interpolation.

import { grouped, metric } from "./format";
import { type Figure, type Load, type Run, broken, found, gpusOf, ladders, loadText, percentileAt } from "./run";

/** Most that a latency may be, s, by metric; empty: no SLO. */
export type Limits = Partial<Record<"ttft" | "tpot" | "e2e", number>>;
export type Price = { usd: Figure; throughput: Figure; at: string };
export type Held = {
  workload: string; variant: string; gpus: number; cells: string[];
  /** At a load that was measured. */
  measured: Price;
  /** Where a limit is reached between two loads that were; null where there is no such place. */
  between: Price | null;
};

/** USD per million output tokens at `hour` USD in all: the interval's ends change places. */
export function usdOf(throughput: Figure, hour: number): Figure {
  const of = (rate: number | null | undefined) => rate == null || rate <= 0 ? null : (hour / (rate * 3600)) * 1e6;
  const ends = [of(throughput.high), of(throughput.low)];
  const whole = ends[0] !== null && ends[1] !== null;
  return { value: of(throughput.value), low: whole ? ends[0] : null, high: whole ? ends[1] : null, reason: throughput.reason };
}

export const limitsText = (limits: Limits): string =>
  Object.entries(limits).map(([key, most]) => `${metric(key).label} of ${+(most * metric(key).scale).toPrecision(6)} ${metric(key).unit}`).join(" and ");

type Rung = { load: Load; values: Record<string, number>; throughput: Figure; cells: string[] };

/** One variant's loads of one workload from low to high, as far as all that is asked about is known of them. */
function rungs(run: Run, variant: string, loads: Load[], limits: Limits, percentile: string): { known: Rung[]; gap: string | null } {
  const known: Rung[] = [];
  for (const load of loads) {
    const row = found(run).load(variant, load.name);
    const throughput = found(run).speed("output_throughput", variant, load.name)?.value ?? { reason: "not measured" };
    const values: Record<string, number> = {};
    for (const key of Object.keys(limits)) {
      const figure = percentileAt(run, key, percentile, variant, load.name);
      if (figure.value == null) return { known, gap: `${load.name}: ${figure.reason ?? "not measured"}` };
      // Nothing that failed or grew without end meets a limit.
      values[key] = broken(row) ? Infinity : figure.value;
    }
    if (throughput.value == null) return { known, gap: `${load.name}: ${throughput.reason ?? "not measured"}` };
    known.push({ load, values, throughput, cells: row?.cells ?? [] });
  }
  return { known, gap: null };
}

/** How far from `a` (0) to `b` (1), on the log scale, the first limit is reached. */
function reached(a: Rung, b: Rung, limits: Limits): number {
  return Math.min(...Object.entries(limits).map(([key, most]) => {
    const [from, to] = [a.values[key]!, b.values[key]!];
    return to <= most ? 1 : !Number.isFinite(to) ? 0 : (Math.log(most) - Math.log(from)) / (Math.log(to) - Math.log(from));
  }));
}

const between = (a: number, b: number, share: number) => Math.exp(Math.log(a) + share * (Math.log(b) - Math.log(a)));

function heldAt(run: Run, workload: string, variant: string, loads: Load[], limits: Limits, percentile: string, hour: number): Omit<Held, "gpus"> {
  const { known, gap } = rungs(run, variant, loads, limits, percentile);
  const none = (reason: string): Omit<Held, "gpus"> => ({
    workload, variant, cells: [], between: null, measured: { usd: { reason }, throughput: { reason }, at: reason } });
  if (!known.length) return none(gap ?? "no load was measured");
  if (!Object.keys(limits).length) {
    const best = known.toSorted((a, b) => b.throughput.value! - a.throughput.value!)[0]!;
    return { workload, variant, cells: best.cells, between: null,
      measured: { usd: usdOf(best.throughput, hour), throughput: best.throughput, at: `${loadText(best.load)}, the highest throughput` } };
  }
  const first = known.findIndex((r) => Object.entries(limits).some(([key, most]) => r.values[key]! > most));
  if (first === 0) return none(`${loadText(known[0]!.load)}, the lowest load, misses it`);
  const last = known[(first < 0 ? known.length : first) - 1]!;
  const end = first < 0 ? (gap ? `; beyond it n/a (${gap})` : ", the highest that was measured: at most this") : "";
  const measured = { usd: usdOf(last.throughput, hour), throughput: last.throughput, at: `${loadText(last.load)}${end}` };
  if (first < 0) return { workload, variant, cells: last.cells, between: null, measured };
  const next = known[first]!;
  const share = reached(last, next, limits);
  const throughput = { value: between(last.throughput.value!, next.throughput.value!, share), reason: "interpolated: no interval" };
  const at = last.load.at === null || next.load.at === null ? "" : `${grouped(between(last.load.at, next.load.at, share), 1)} `;
  return { workload, variant, measured, cells: [...last.cells, ...next.cells],
    between: share <= 0 ? null : { usd: usdOf(throughput, hour), throughput,
      at: `${at}${last.load.kind === "c" ? "streams" : "requests/s"}, interpolated between ${loadText(last.load)} and ${loadText(next.load)}` } };
}

/** Every workload and variant; of a workload with closed and open loops the closed ones. */
export function whatIf(run: Run, limits: Limits, percentile: string, price: number): Held[] {
  const seen = new Set<string>();
  return ladders(run.loads.map((l) => l.load)).flatMap((group) => {
    if (seen.has(group.title)) return [];
    seen.add(group.title);
    return run.variants.map(({ name }) => {
      const gpus = gpusOf(run, name);
      return { ...heldAt(run, group.title, name, group.loads, limits, percentile, price * gpus), gpus };
    });
  });
}

/** The run's own SLO: where the verdict puts the highest load that meets it, judged request by request and over blocks. */
export function ownSlo(run: Run, held: Held[], price: number): Held[] {
  return held.map((h) => {
    const row = run.capacity.find((c) => c.workload === h.workload && c.variant === h.variant);
    if (!row || row.highest.value == null || row.output_throughput.value == null) return h;
    if (row.bound === "at least") {
      return { ...h, between: null, measured: { throughput: row.output_throughput, usd: usdOf(row.output_throughput, price * h.gpus),
        at: `${grouped(row.highest.value, 0)} ${row.unit}, the highest that was measured: at most this` } };
    }
    if (row.bound !== "exact") return h;
    return { ...h, between: { throughput: row.output_throughput, usd: usdOf(row.output_throughput, price * h.gpus),
      at: `${grouped(row.highest.value, 1)} ${row.unit}, interpolated in each of ${row.blocks} blocks, request by request` } };
  });
}

/** What output tokens cost at each load, and against the baseline; an hour of one accelerator costs `price`. */
export function atEachLoad(run: Run, price: number): { load: string; variant: string; usd: Figure; ratio: Figure }[] {
  const base = gpusOf(run, run.experiment.baseline);
  const of = (ratio: number | null | undefined, gpus: number) => ratio == null || ratio <= 0 ? null : gpus / base / ratio;
  const rows = run.speed.filter((s) => s.metric === "output_throughput").map((s) => {
    const gpus = gpusOf(run, s.variant);
    const [low, high] = [of(s.ratio.high, gpus), of(s.ratio.low, gpus)];
    return { load: s.load, variant: s.variant, usd: usdOf(s.value, price * gpus),
      ratio: { value: of(s.ratio.value, gpus), low, high, reason: s.ratio.reason } };
  });
  return [...new Set(rows.map((r) => r.load))].flatMap((load) => rows.filter((r) => r.load === load));
}

/** One figure for a variant over all workloads: each one's cost by its share of the output tokens. */
export function mixed(held: Held[], shares: Map<string, number>): { variant: string; usd: Figure }[] {
  const all = [...shares.values()].reduce((a, b) => a + b, 0);
  return [...new Set(held.map((h) => h.variant))].map((variant) => {
    const mine = held.filter((h) => h.variant === variant && (shares.get(h.workload) ?? 0) > 0);
    const gone = mine.find((h) => h.measured.usd.value == null);
    if (!(all > 0) || !mine.length) return { variant, usd: { reason: "the mix is empty" } };
    if (gone) return { variant, usd: { reason: `${gone.workload}: ${gone.measured.usd.reason}` } };
    const sum = (end: "value" | "low" | "high") => mine.reduce<number | null>((total, h) => {
      const part = h.measured.usd[end];
      return total === null || part == null ? null : total + (part * shares.get(h.workload)!) / all;
    }, 0);
    const [low, high] = [sum("low"), sum("high")];
    return { variant, usd: { value: sum("value"), low: high === null ? null : low, high: low === null ? null : high } };
  });
}
