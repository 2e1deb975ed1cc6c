// The run that lies in the page, and what is asked of it in more than one view.

import { grouped } from "./format";
import type { Figure, Summary } from "./summary";

// Lists that older summaries lack are empty here: absent, not zero.
export type Run = Required<Summary>;
export type { Figure };
export type Load = { name: string; workload: string; kind: "c" | "r" | "trace"; at: number | null };

const LISTS = [
  "decisions", "costs", "frontiers", "slices", "roofline", "explanations", "speed_means", "blocks", "capacity",
  "degradation", "energy", "gpu_memory", "predicted_memory", "damage", "worst_tokens", "continuations", "most_changed",
] as const;

export function parseRun(text: string): Run | null {
  if (!text.trim()) return null;
  const data = JSON.parse(text) as Record<string, unknown>;
  for (const key of LISTS) data[key] ??= [];
  data.cells ??= null;
  return data as unknown as Run;
}

/** `chat@c8`: 8 streams; `chat@r2.5`: 2.5 requests a second; `production@trace`: its own times. */
export function parseLoad(name: string): Load {
  let load = LOADS.get(name);
  if (!load) LOADS.set(name, load = parsed(name));
  return load;
}

const LOADS = new Map<string, Load>();

function parsed(name: string): Load {
  const cut = name.lastIndexOf("@");
  const found = /^([cr])([\d.e+-]+)$/.exec(name.slice(cut + 1));
  const workload = cut < 0 ? name : name.slice(0, cut);
  if (!found) return { name, workload, kind: "trace", at: null };
  return { name, workload, kind: found[1] as "c" | "r", at: Number(found[2]) };
}

export const loadText = (load: Load): string =>
  load.kind === "c" ? `${load.at} ${load.at === 1 ? "stream" : "streams"}`
    : load.kind === "r" ? `${load.at} requests/s` : "trace";

/** The same where there is room for a figure alone: `8`, `2.5/s`. */
export const shortLoad = (load: Load): string => load.kind === "c" ? `${load.at}` : load.kind === "r" ? `${load.at}/s` : "";

/** Workloads in the order of the run, each with its closed or open loads from low to high. */
export function ladders(names: string[]): { title: string; unit: string; loads: Load[] }[] {
  const groups = new Map<string, Load[]>();
  for (const load of new Set(names)) {
    const own = parseLoad(load);
    const key = `${own.workload}@${own.kind}`;
    groups.set(key, [...(groups.get(key) ?? []), own]);
  }
  return [...groups.values()].map((loads) => ({
    title: loads[0]!.workload,
    unit: loads[0]!.kind === "c" ? "streams" : loads[0]!.kind === "r" ? "requests/s" : "trace",
    loads: loads.toSorted((a, b) => (a.at ?? 0) - (b.at ?? 0)),
  }));
}

export type Slo = { ttft_ms?: number | null; itl_ms?: number | null; e2e_ms?: number | null; share?: number };

export function sloOf(run: Run): Slo {
  const settings = run.settings as { policy?: { slo?: Slo | null } | null; load?: { slo?: Slo | null } | null };
  return settings.policy?.slo ?? settings.load?.slo ?? {};
}

/** The rows of one load of one variant, found without a walk through all of them. */
export type Found = {
  load: (variant: string, load: string) => Run["loads"][number] | undefined;
  speed: (metric: string, variant: string, load: string) => Run["speed"][number] | undefined;
};
const FOUND = new WeakMap<Run, Found>();

export function found(run: Run): Found {
  let known = FOUND.get(run);
  if (!known) {
    const loads = new Map(run.loads.map((l) => [`${l.variant}\n${l.load}`, l]));
    const speed = new Map(run.speed.map((s) => [`${s.metric}\n${s.variant}\n${s.load}`, s]));
    known = {
      load: (variant, load) => loads.get(`${variant}\n${load}`),
      speed: (metric, variant, load) => speed.get(`${metric}\n${variant}\n${load}`),
    };
    FOUND.set(run, known);
  }
  return known;
}

/** A latency's percentile at a load: p50 is the mean of the blocks' medians, with its interval; the others are of all requests together. */
export function percentileAt(run: Run, metric: string, percentile: string, variant: string, load: string): Figure {
  if (percentile === "p50") return found(run).speed(metric, variant, load)?.value ?? { reason: "not measured" };
  return found(run).load(variant, load)?.percentiles.find((p) => p.metric === metric && p.percentile === percentile)?.value
    ?? { reason: `${percentile} was not taken` };
}

/** How many GPUs a variant takes; 1 where nobody told. */
export const gpusOf = (run: Run, variant: string): number =>
  run.gpu_memory.find((g) => g.variant === variant)?.gpus ?? run.costs.find((c) => c.variant === variant)?.gpus ?? 1;

/** Whether a load's figures are a point to build on: requests failed, or an open loop whose queue grew until its end. */
export const broken = (row: Run["loads"][number] | undefined): boolean => (row?.failed ?? 0) > 0 || (row?.saturated ?? 0) > 0;

/** `48 requests in 4 blocks, 0 failed`, and what else is to be known of a load. */
export function requestsText(row: Run["loads"][number] | undefined): string {
  if (!row) return "not measured";
  return `${grouped(row.requests, 0)} requests in ${row.blocks} ${row.blocks === 1 ? "block" : "blocks"}, ${row.failed} failed`
    + (row.saturated ? `, saturated in ${row.saturated}` : "");
}

/** Why something is not in the run, in its own words. */
export function whyMissing(run: Run, ...words: string[]): string {
  const row = run.not_measured.find((r) => words.some((word) => r.what.includes(word)));
  return row ? row.reason : "the run holds no such figures";
}
