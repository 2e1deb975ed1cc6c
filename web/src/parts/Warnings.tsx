import type { Run } from "@/data/run";

/** A capital letter where a sentence begins with a word, and not with the name of a variant or a task. */
const begun = (text: string, run: Run) =>
  [...run.variants.map((v) => v.name), ...run.quality.map((row) => row.task)].some((name) => text.startsWith(name))
    ? text : text.charAt(0).toUpperCase() + text.slice(1);

/** What makes the comparison worth less than it looks, each with what helps. `without`: one that is told elsewhere. */
export function Warnings({ run, without }: { run: Run; without?: string }) {
  return run.warnings.filter((w) => w.key !== without).map((w) => (
    <div className="warning" key={w.key}><p>{begun(w.text, run)}.</p><p>{begun(w.remedy, run)}.</p></div>
  ));
}
