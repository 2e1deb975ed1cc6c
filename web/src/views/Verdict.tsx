import { asBytes, asCount, asFineRatio, asMetric, asPoints, asRatio, metric } from "@/data/format";
import type { Run } from "@/data/run";
import { Fig, Missing, Word, needs, needsBlocks } from "@/parts/figures";
import { Asked } from "@/parts/Asked";
import { Warnings } from "@/parts/Warnings";
import { Behind, type Column, Table } from "@/parts/Table";

type Row = Run["variants"][number];

const COLUMNS = (run: Run): Column<Row>[] => [
  { title: "variant", cell: (v) => v.name },
  { title: "decision", cell: (v) => v.baseline ? "baseline"
    : <Word word={run.decisions.find((d) => d.variant === v.name)?.word ?? null} reason="no decision in this run" /> },
  { title: "size", number: true, hint: metric("weights_bytes").definition,
    cell: (v) => v.baseline ? <Fig figure={v.size.bytes} format={asBytes} />
      : <Fig figure={v.size.ratio} format={asRatio} below={v.size.bytes.value == null ? undefined : asBytes(v.size.bytes.value)} /> },
  { title: metric("bits_per_weight").label.toLowerCase(), number: true, hint: metric("bits_per_weight").definition,
    cell: (v) => <Fig figure={v.size.bits_per_weight} format={(x) => asMetric("bits_per_weight")(x, false)} /> },
  { title: "accuracy", number: true, hint: "baseline: share of items answered right; others: its change, percentage points",
    cell: (v) => v.baseline || v.quality.delta.value == null ? <Fig figure={v.quality.accuracy} format={asMetric("accuracy")} />
      : <Fig figure={v.quality.delta} format={asPoints} /> },
  ...(run.variants.some((v) => v.quality.n > 0 && !v.baseline) ? FLIPS : []),
  { title: "quality", cell: (v) => v.baseline ? null
    : <Word word={v.quality.word} reason={v.quality.reason}
        more={v.quality.word === "inconclusive" ? needs(v.quality.more_items, v.quality.basis === "tasks" ? "item" : "document") : null} /> },
  { title: "perplexity", number: true, hint: "variant / baseline, the worst corpus",
    cell: (v) => v.baseline ? <Missing reason="is the baseline" />
      : <Fig figure={v.perplexity_ratio} format={asFineRatio} below={v.perplexity_word ?? undefined} /> },
  ...(run.loads.length ? SPEED : []),
];

const FLIPS: Column<Row>[] = [
  { title: "flips", number: true, hint: "items lost / gained against the baseline, of n",
    cell: (v) => v.baseline ? null : v.quality.n === 0 ? <Missing reason={v.quality.reason} />
      : <span className="figure"><span>{asCount(v.quality.lost)} / {asCount(v.quality.gained)}</span><small>of {asCount(v.quality.n)}</small></span> },
];

const SPEED: Column<Row>[] = [
  { title: "throughput", number: true, hint: "output tokens a second, variant / baseline, geometric mean over loads",
    cell: (v) => v.baseline ? <Missing reason="is the baseline" /> : <Fig figure={v.speed.ratio} format={asRatio} /> },
  { title: "speed", cell: (v) => v.baseline ? null
    : <Word word={v.speed.word} reason={v.speed.reason} more={v.speed.word === "inconclusive" ? needsBlocks(v.speed) : null} /> },
];

export function Verdict({ run }: { run: Run }) {
  return (
    <>
      <p className="sentence">{run.headline.sentence}</p>
      <p className={run.recommendation.variant ? "advice good" : "advice"}>{run.recommendation.sentence}</p>
      <Warnings run={run} without="unfinished" />
      <h3>Variants</h3>
      <Table caption="Ratios and changes are against the baseline; the small figures are 95% intervals."
        className="wide" columns={COLUMNS(run)} rows={run.variants} />
      {run.decisions.length ? <h3>Why</h3> : null}
      {run.decisions.map((d) => (
        <div className="decision" key={d.variant}>
          <b>{d.variant}</b> <Word word={d.word} />
          <p>{d.sentence}</p>
          {d.conditions.length ? (
            <Behind title={`${d.conditions.length} condition${d.conditions.length === 1 ? "" : "s"}`}>
              <Table caption={`What the policy asks of ${d.variant}`} rows={d.conditions} columns={[
                { title: "condition", cell: (c) => c.key }, { title: "asks", cell: (c) => c.asks },
                { title: "found", cell: (c) => c.found }, { title: "state", cell: (c) => <Word word={c.state} /> },
              ]} />
            </Behind>
          ) : null}
        </div>
      ))}
      <Asked run={run} />
    </>
  );
}
