import { asPoints, asRatio } from "@/data/format";
import type { Run } from "@/data/run";
import { Fig, Missing } from "@/parts/figures";
import { Absent, Behind, Table } from "@/parts/Table";

type Fact = [string, string];

/** Nested settings as lines: `load.requests: 12`. */
function flat(value: unknown, path = ""): Fact[] {
  if (value === null || value === undefined) return [[path, "n/a (not set)"]];
  if (typeof value !== "object") return [[path, String(value)]];
  if (Array.isArray(value) && value.every((x) => typeof x !== "object")) return [[path, value.join(", ") || "none"]];
  return Object.entries(value).flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key));
}

/** `load.workloads.short.free`: it may break after each part. */
const breakable = (path: string) => path.split(/(?<=[._])/).map((part, i) => <span key={i}>{part}<wbr /></span>);

const Facts = ({ of }: { of: unknown }) => (
  <dl className="facts-list">{flat(of).map(([key, text]) => (
    <div key={key}><dt>{breakable(key)}</dt><dd>{text}</dd></div>
  ))}</dl>
);

export function RunView({ run }: { run: Run }) {
  const { client, ceilings, command, packages, ...machine } = run.environment as Record<string, unknown>;
  const { engines, hashes, ...settings } = run.settings as Record<string, unknown>;
  const raw = JSON.stringify(run, null, 1);
  return (
    <>
      <h3>Machine</h3>
      <Facts of={machine} />
      {command ? <><h3>How to run it again</h3><pre>{String(command)}</pre></> : null}
      <h3>Warnings</h3>
      {run.warnings.length ? run.warnings.map((w, i) => (
        <div className="warning" key={i}><p>{w.text}</p><p>{w.remedy}</p></div>
      )) : <p className="note">None.</p>}
      <h3>What was not measured</h3>
      {run.not_measured.length ? (
        <Table caption="Each with its reason" rows={run.not_measured} columns={[
          { title: "what", cell: (r) => r.what }, { title: "reason", cell: (r) => r.reason },
        ]} />
      ) : <p className="note">Everything that the experiment asked for was measured.</p>}
      <h3>Blocks</h3>
      {run.blocks.length ? (
        <Table caption="How far the machine moved during a block: the later measurement of the baseline against the earlier"
          rows={run.blocks} columns={[
            { title: "block", cell: (b) => b.block + 1 },
            { title: "drift", number: true, cell: (b) => <Fig figure={{ ...b.drift, value: b.drift.value == null ? null : Math.expm1(b.drift.value) }}
              format={(x) => asPoints(x, false) + "%"} /> },
            { title: "left out for", cell: (b) => b.invalid_for.join(", ") || "no variant" },
            { title: "marks", cell: (b) => b.marks?.join("; ") || "none" },
          ]} />
      ) : <Absent>No blocks: no load was measured.</Absent>}
      {run.noise_floor.length ? (
        <>
          <h3>Noise floor</h3>
          <p className="note">The baseline against itself, measured again. A difference that is not above it is not a finding.</p>
          <Table caption="Baseline against baseline" rows={run.noise_floor} columns={[
            { title: "subject", cell: (n) => n.subject },
            { title: "kind", cell: (n) => n.kind },
            { title: "difference", number: true, cell: (n) => <Fig figure={n.effect} format={n.kind === "task" ? asPoints : asRatio} /> },
            { title: "flips", number: true, cell: (n) => n.lost == null ? null : `${n.lost} / ${n.gained}` },
            { title: "n", number: true, cell: (n) => n.n?.toLocaleString("en-US") ?? <Missing /> },
          ]} />
        </>
      ) : null}
      <h3>Settings</h3>
      <Facts of={settings} />
      {[["Engines", engines], ["Hashes of the work", hashes], ["Packages", packages], ["The load client, calibrated", client],
        ["Ceilings of the machine", ceilings], ["Artifacts", run.artifacts]].map(([title, of]) => of ? (
        <Behind key={String(title)} title={String(title)}><Facts of={of} /></Behind>
      ) : null)}
      <Behind title={`Raw JSON (${Math.ceil(raw.length / 1000)} kB)`}><pre>{raw}</pre></Behind>
    </>
  );
}

