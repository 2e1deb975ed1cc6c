import { useAddress } from "@/data/address";
import { asCount, asFineRatio, asMetric, asPoints, asRatio, metric } from "@/data/format";
import { Choice } from "@/parts/Choice";
import { Fig, Word, needs } from "@/parts/figures";
import { Absent, Table } from "@/parts/Table";
import type { Comparison, SpeedRow, VariantComparison } from "./comparison";
import { useRuns } from "./runs";
import { useAnswer } from "./told";

type Named<T> = T & { name: string };

const nameOf = (one: VariantComparison) => (one.a === one.b ? one.b : `${one.b} / ${one.a}`);
/** Subject by subject, each with all variants. */
function rowsOf<T>(found: Comparison, rows: (one: VariantComparison) => T[], subject: (row: T) => string): Named<T>[] {
  const all = found.variants.flatMap((one) => rows(one).map((row) => ({ ...row, name: nameOf(one) })));
  return [...new Set(all.map(subject))].flatMap((name) => all.filter((row) => subject(row) === name));
}

/** Two stored runs held against each other: what `quantcheck compare` says. */
export function Against() {
  const { runs, shown } = useRuns();
  const { get, set } = useAddress();
  const readable = runs.filter((r) => r.state !== "unreadable");
  const pick = (key: string, otherwise: string | null) => readable.find((r) => r.name === (get(key) ?? otherwise)) ?? null;
  const a = pick("a", shown);
  const b = pick("b", readable.find((r) => r.name !== a?.name && r.state === "finished" && r.cells_here)?.name
    ?? readable.find((r) => r.name !== a?.name)?.name ?? null);
  const force = get("force") === "1";
  const query = new URLSearchParams({ a: a?.name ?? "", b: b?.name ?? "", of: get("of") ?? "", with: get("with") ?? "", force: force ? "1" : "" });
  const answer = useAnswer<Comparison>(a && b ? `comparison?${query}` : null, `${a?.changed} ${b?.changed} ${a?.state} ${b?.state}`,
    (text) => JSON.parse(text) as Comparison);
  const found = answer?.value;

  const choose = (title: string, key: string, value: string, choices: [string, string][]) => (
    <span>
      <label htmlFor={`against-${key}`}>{title}</label>{" "}
      <select id={`against-${key}`} value={value} onChange={(event) => set(key, event.target.value)}>
        {choices.map(([name, text]) => <option key={name} value={name}>{text}</option>)}
      </select>
    </span>
  );
  const names: [string, string][] = readable.map((r) => [r.name, r.name]);
  const variants = (of: string[]): [string, string][] => [["", "each variant that both have"], ...of.map((v): [string, string] => [v, v])];
  return (
    <>
      <p className="note">
        A is taken as the baseline, B as the variant. Quality is paired by item, speed is not paired between runs: moved is what
        the runs&apos; common baseline shows, and a difference that is none without it is no finding.
      </p>
      <div className="controls against">
        {choose("A", "a", a?.name ?? "", names)}
        {choose("variant of A", "of", get("of") ?? "", variants(a?.variants ?? []))}
        {choose("B", "b", b?.name ?? "", names)}
        {choose("variant of B", "with", get("with") ?? "", variants(b?.variants ?? []))}
        <label><input type="checkbox" checked={force} onChange={(event) => set("force", event.target.checked ? "1" : null)} />{" "}
          figures that are not comparable too, without verdicts</label>
      </div>
      {!b ? <Absent>There is no other run to compare with.</Absent>
        : !answer ? <p className="note" role="status">Comparing the stored cells.</p>
        : !found ? <Absent>Not compared: {answer.reason}.</Absent>
        : <Found found={found} />}
    </>
  );
}

function Found({ found }: { found: Comparison }) {
  const { get, set } = useAddress();
  const loads = rowsOf(found, (one) => one.loads, (r) => r.load);
  const keys = [...new Set(loads.map((row) => row.metric))];
  const key = keys.find((k) => k === get("metric")) ?? keys[0];
  const tasks = rowsOf(found, (one) => one.tasks, (q) => q.task);
  const corpora = rowsOf(found, (one) => one.corpora, (c) => c.corpus);
  return (
    <>
      {found.differences.map((d) => (
        <div className="warning" key={d.what}>
          <p>{d.what} differs, so {d.concerns === "all" ? "nothing" : `no ${d.concerns}`} is comparable.</p>
          <p>A: {d.a}; B: {d.b}</p>
        </div>
      ))}
      <ul className="sentences">{found.variants.map((one) => <li key={nameOf(one)}>{one.sentence}</li>)}</ul>
      {found.notes.map((note) => <p className="note" key={note}>{note}.</p>)}
      <h3>Verdicts</h3>
      <Table caption="B against A; the small figures are 95% intervals" className="wide" rows={found.variants} columns={[
        { title: "variant", cell: nameOf },
        { title: "accuracy", number: true, hint: "change, percentage points", cell: (v) => <Fig figure={v.quality.delta} format={asPoints} /> },
        { title: "lost / gained", number: true, cell: (v) => v.quality.n ? `${asCount(v.quality.lost)} / ${asCount(v.quality.gained)}` : null },
        { title: "quality", cell: (v) => <Word word={v.quality.word} reason={v.quality.reason} more={needs(v.quality.more_items, "item")} /> },
        { title: "throughput", number: true, hint: "B / A, geometric mean over the loads that both have", cell: (v) => v.speed && <Fig figure={v.speed.ratio} format={asRatio} /> },
        { title: "moved", number: true, hint: "B / A of the common baseline", cell: (v) => v.speed && <Fig figure={v.speed.moved} format={asRatio} /> },
        { title: "without it", number: true, hint: "the ratio adjusted for what moved", cell: (v) => v.speed && <Fig figure={v.speed.adjusted} format={asRatio} /> },
        { title: "speed", cell: (v) => v.speed ? <Word word={v.speed.word} reason={v.speed.reason} more={needs(v.speed.more_blocks, "block")} />
          : <Word word={null} reason="no load is common to both" /> },
        { title: "file", cell: (v) => (v.same_file ? "the same" : "another") },
      ]} />
      {tasks.length ? <><h3>Tasks</h3>
        <Table caption="Accuracy, paired by item" rows={tasks} columns={[
          { title: "task", cell: (q) => q.task }, { title: "variant", cell: (q) => q.name },
          { title: "A", number: true, cell: (q) => <Fig figure={q.baseline_accuracy} format={asMetric("accuracy")} /> },
          { title: "B", number: true, cell: (q) => <Fig figure={q.accuracy} format={asMetric("accuracy")} /> },
          { title: "change", number: true, cell: (q) => <Fig figure={q.delta} format={asPoints} /> },
          { title: "lost / gained", number: true, cell: (q) => q.delta.value == null ? null : `${asCount(q.lost)} / ${asCount(q.gained)}` },
          { title: "verdict", cell: (q) => <Word word={q.word} reason={q.reason} more={needs(q.more_items, "item")} /> },
        ]} /></> : null}
      {corpora.length ? <><h3>Perplexity</h3>
        <Table caption="On the same tokens" rows={corpora} columns={[
          { title: "corpus", cell: (c) => c.corpus }, { title: "variant", cell: (c) => c.name },
          { title: "B", number: true, cell: (c) => <Fig figure={c.perplexity} format={asMetric("perplexity")} /> },
          { title: "ratio", number: true, cell: (c) => <Fig figure={c.ratio} format={asFineRatio} /> },
          { title: "verdict", cell: (c) => <Word word={c.word} reason={c.reason} more={needs(c.more_units, c.unit ?? "document")} /> },
        ]} /></> : null}
      {key ? <><h3>Speed, load by load</h3>
        <div className="controls">
          <Choice label="Metric" choices={keys.map((k) => [k, metric(k).label])} now={key} choose={(k) => set("metric", k)} />
        </div>
        <Table caption={`${metric(key).label}: ${metric(key).definition}`} rows={loads.filter((row) => row.metric === key)} columns={speed(key)} /></> : null}
    </>
  );
}

const speed = (key: string) => [
  { title: "load", cell: (r: Named<SpeedRow>) => r.load }, { title: "variant", cell: (r: Named<SpeedRow>) => r.name },
  { title: "A", number: true, cell: (r: Named<SpeedRow>) => <Fig figure={r.a} format={asMetric(key)} /> },
  { title: "B", number: true, cell: (r: Named<SpeedRow>) => <Fig figure={r.b} format={asMetric(key)} /> },
  { title: "ratio", number: true, cell: (r: Named<SpeedRow>) => <Fig figure={r.ratio} format={asRatio} /> },
  { title: "moved", number: true, cell: (r: Named<SpeedRow>) => <Fig figure={r.moved} format={asRatio} /> },
  { title: "blocks", number: true, cell: (r: Named<SpeedRow>) => r.blocks.join(" / ") },
  { title: "verdict", cell: (r: Named<SpeedRow>) => <Word word={r.word} reason={r.reason} more={needs(r.more_blocks, "block")} /> },
];
