// The run that lies in the page, and what is asked of it in more than one view.

import type { Figure, Summary } from "./summary";

// Lists that older summaries lack are empty here: absent, not zero.
export type Run = Required<Summary>;
export type { Figure };
export type Load = { name: string; workload: string; kind: "c" | "r" | "trace"; at: number | null };

const LISTS = [
  "decisions", "costs", "frontiers", "slices", "roofline", "explanations", "speed_means", "blocks", "capacity",
  "degradation", "energy", "gpu_memory",
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
  const cut = name.lastIndexOf("@");
  const found = /^([cr])([\d.e+-]+)$/.exec(name.slice(cut + 1));
  const workload = cut < 0 ? name : name.slice(0, cut);
  if (!found) return { name, workload, kind: "trace", at: null };
  return { name, workload, kind: found[1] as "c" | "r", at: Number(found[2]) };
}

export const loadText = (load: Load): string =>
  load.kind === "c" ? `${load.at} ${load.at === 1 ? "stream" : "streams"}`
    : load.kind === "r" ? `${load.at} requests/s` : "trace";

/** Workloads in the order of the run, each with its closed or open loads from low to high. */
export function ladders(names: string[]): { title: string; unit: string; loads: Load[] }[] {
  const groups = new Map<string, Load[]>();
  for (const load of new Set(names)) {
    const parsed = parseLoad(load);
    const key = `${parsed.workload}@${parsed.kind}`;
    groups.set(key, [...(groups.get(key) ?? []), parsed]);
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

/** Why something is not in the run, in its own words. */
export function whyMissing(run: Run, ...words: string[]): string {
  const row = run.not_measured.find((r) => words.some((word) => r.what.includes(word)));
  return row ? row.reason : "the run holds no such figures";
}
