import { isWide } from "@/charts/change";
import { Forest, type ForestRow, forestValues } from "@/charts/Forest";
import { HALF, Legend } from "@/charts/marks";
import { useAddress } from "@/data/address";
import { asCount, asFineRatio, asMetric, asPoints, figureText, hasInterval } from "@/data/format";
import { type Run, whyMissing } from "@/data/run";
import { Fig, Missing, Word, needs } from "@/parts/figures";
import { Choice } from "@/parts/Choice";
import { SideBySide, WorstTokens } from "@/parts/Damage";
import { Picked, Raw, among } from "@/parts/Records";
import { Absent, Behind, Table } from "@/parts/Table";

/** Slices shown before the reader asks for all. */
const TELLING = 8;

const p = (value: number | null | undefined) => value == null ? <Missing /> : value < 0.001 ? "< 0.001" : value.toFixed(3);

export function Tasks({ run }: { run: Run }) {
  const tasks = [...new Set(run.quality.map((q) => q.task))];
  const corpora = run.corpora.filter((c) => c.variant !== run.experiment.baseline);
  const margin = (run.settings as { margin?: { perplexity_ratio?: number } }).margin?.perplexity_ratio;
  const { get, set } = useAddress();
  if (!tasks.length && !run.corpora.length) return <Absent>Tasks: n/a ({whyMissing(run, "quality")}).</Absent>;
  const taskRows: ForestRow[] = tasks.flatMap((task) => run.quality.filter((q) => q.task === task).map((q) => ({
    group: task, variant: q.variant, figure: q.delta, rule: q.margin == null ? null : -q.margin, word: q.word,
    text: `lost ${asCount(q.lost)}, gained ${asCount(q.gained)} of ${asCount(q.n)}`,
    point: `${q.variant} ${task}`, cells: q.cells ?? [],
    title: `${task}, ${q.variant}: ${figureText(q.delta, asPoints)}; ${q.n} items, ${q.lost} lost, ${q.gained} gained${q.margin == null ? "" : `; margin ${asPoints(q.margin)}`}`,
  })));
  const corpusRows: ForestRow[] = corpora.map((c) => ({
    group: c.corpus, variant: c.variant, figure: c.ratio, rule: margin === undefined ? null : 1 + margin, word: c.word,
    text: `${asCount(c.tokens)} tokens`,
    point: `${c.variant} ${c.corpus}`, cells: c.cells ?? [],
    title: `${c.corpus}, ${c.variant}: perplexity ${figureText(c.ratio, asFineRatio)}; ${asCount(c.tokens)} tokens of ${c.documents} documents`,
  }));
  const bare = [...taskRows, ...corpusRows].some((r) => r.figure.value != null && !hasInterval(r.figure));
  const points = run.quality.find((q) => q.margin)?.margin ?? 0.01;
  const ratio = margin ?? 0.01;
  const wide = isWide(forestValues(taskRows), 0, points) || isWide(forestValues(corpusRows), 1, ratio);
  const log = (get("changes") ?? (wide ? "log" : "linear")) === "log";
  const all = get("slices") === "all";
  const slices = run.slices.filter((s) => s.delta.value != null).toSorted((a, b) => (a.q ?? 1) - (b.q ?? 1));
  return (
    <>
      <div className="controls">
        <Choice label="Scale" choices={[["linear", "linear"], ["log", "log beyond the margin"]]} now={log ? "log" : "linear"}
          choose={(key) => set("changes", key)} />
        <Legend run={run} />
      </div>
      <Picked tell={among([...taskRows, ...corpusRows], (r) => r.point, (r) => ({ text: r.title, cells: r.cells }))} />
      {bare ? <p className="note">{HALF}</p> : null}
      <h3>Change of accuracy, task by task</h3>
      {taskRows.length ? (
        <>
          <p className="note">
            Percentage points against {run.experiment.baseline}, paired by item, with 95% intervals. An interval right of the dashed
            margin speaks for safe, one left of zero for harmed; where it is neither, more items are needed. The words are adjusted
            for the number of tasks, so an interval just beyond a line may still be inconclusive.
            <span className="narrow"> ✓ safe, ✗ harmed, ? inconclusive.</span> Lost: right before, wrong now.
          </p>
          <Forest run={run} rows={taskRows} zero={0} margin={points} log={log} format={asPoints} unit="percentage points (higher is better)" title="Change of accuracy by task" />
          <Behind title="The figures of the tasks">
            <Table caption="Tasks" rows={run.quality} columns={[
              { title: "task", cell: (q) => q.task }, { title: "variant", cell: (q) => q.variant },
              { title: "n", number: true, cell: (q) => asCount(q.n) },
              { title: "baseline", number: true, cell: (q) => <Fig figure={q.baseline_accuracy} format={asMetric("accuracy")} /> },
              { title: "accuracy", number: true, cell: (q) => <Fig figure={q.accuracy} format={asMetric("accuracy")} /> },
              { title: "change", number: true, cell: (q) => <Fig figure={q.delta} format={asPoints} /> },
              { title: "lost / gained", number: true, cell: (q) => `${asCount(q.lost)} / ${asCount(q.gained)}` },
              { title: "McNemar p", number: true, cell: (q) => p(q.p) },
              { title: "margin", number: true, cell: (q) => q.margin == null ? <Missing reason="no margin" /> : asPoints(q.margin) },
              { title: "verdict", cell: (q) => <Word word={q.word} reason={q.reason} more={q.word === "inconclusive" ? needs(q.more_items, "item") : null} /> },
              { title: "raw", cell: (q) => <Raw cells={q.cells} /> },
            ]} />
          </Behind>
        </>
      ) : <Absent>n/a ({whyMissing(run, "task", "quality")}).</Absent>}
      <h3>Perplexity, corpus by corpus</h3>
      {corpusRows.length ? (
        <>
          <p className="note">Variant over {run.experiment.baseline} on the same tokens, with 95% intervals by document or segment; above 1x is worse.</p>
          <Forest run={run} rows={corpusRows} zero={1} margin={ratio} log={log} format={asFineRatio} unit="perplexity, variant / baseline (lower is better)" title="Perplexity ratio by corpus" />
          <Behind title="The figures of the corpora">
            <Table caption="Corpora" rows={run.corpora} columns={[
              { title: "corpus", cell: (c) => c.corpus }, { title: "variant", cell: (c) => c.variant },
              { title: "perplexity", number: true, cell: (c) => <Fig figure={c.perplexity} format={asMetric("perplexity")} /> },
              { title: "ratio", number: true, cell: (c) => <Fig figure={c.ratio} format={asFineRatio} /> },
              { title: "KL, nats", number: true, cell: (c) => <Fig figure={c.kl_divergence} format={asMetric("kl_divergence")} below={c.kl_top ? `lower bound, top ${c.kl_top}` : undefined} /> },
              { title: "top-1 agreement", number: true, cell: (c) => <Fig figure={c.top1_agreement} format={asMetric("top1_agreement")} /> },
              { title: "tokens", number: true, cell: (c) => asCount(c.tokens) },
              { title: "units", number: true, cell: (c) => `${c.units} ${c.unit ?? ""}s` },
              { title: "verdict", cell: (c) => c.variant === run.experiment.baseline ? null : <Word word={c.word} reason={c.reason} /> },
              { title: "raw", cell: (c) => <Raw cells={c.cells} /> },
            ]} />
          </Behind>
        </>
      ) : <Absent>n/a ({whyMissing(run, "perplexity", "quality")}).</Absent>}
      <h3>Where a loss sits</h3>
      {slices.length ? (
        <>
          <p className="note">Parts of a task, the most telling first. Exploratory: no verdict rests on it; q is Benjamini and Hochberg&apos;s over the variant&apos;s slices.</p>
          <Table caption="Slices" rows={slices.slice(0, all ? slices.length : TELLING)} columns={[
            { title: "slice", cell: (s) => s.slice }, { title: "by", cell: (s) => s.by }, { title: "task", cell: (s) => s.task },
            { title: "variant", cell: (s) => s.variant }, { title: "n", number: true, cell: (s) => asCount(s.n) },
            { title: "change", number: true, cell: (s) => <Fig figure={s.delta} format={asPoints} /> },
            { title: "lost / gained", number: true, cell: (s) => `${asCount(s.lost)} / ${asCount(s.gained)}` },
            { title: "q", number: true, cell: (s) => p(s.q) },
          ]} />
          {slices.length > TELLING ? (
            <button type="button" className="more" onClick={() => set("slices", all ? null : "all")}>{all ? `Show the ${TELLING} most telling` : `Show all ${slices.length} slices`}</button>
          ) : null}
        </>
      ) : <Absent>n/a (no task of this run has groups, lengths or languages to slice by).</Absent>}
      <WorstTokens run={run} />
      <SideBySide run={run} />
    </>
  );
}
