// What `quantcheck compare` says, as report/comparison.py defines it.

import type { Figure, Run } from "@/data/run";

export type Difference = { what: string; a: string; b: string; concerns: "all" | "speed" | "tasks" | "perplexity" };
export type SpeedRow = {
  load: string; metric: string; a: Figure; b: Figure; ratio: Figure; blocks: [number, number]; moved: Figure; adjusted: Figure;
  word: string | null; more_blocks: number | null; reason: string | null;
};
export type VariantComparison = {
  a: string; b: string; same_file: boolean; sentence: string; quality: Run["variants"][number]["quality"];
  speed: SpeedRow | null; tasks: Run["quality"]; corpora: Run["corpora"]; loads: SpeedRow[];
};
export type Comparison = { differences: Difference[]; variants: VariantComparison[]; notes: string[] };
