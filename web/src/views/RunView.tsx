import { scaleLinear, scalePoint } from "d3-scale";
import { useState } from "react";
import { Chart, XAxis, YAxis } from "@/charts/frame";
import { setState } from "@/data/address";
import { asBytes, asCount, asFineRatio, asMetric, asPoints, asRatio, figureText, metric } from "@/data/format";
import type { Figure, Run } from "@/data/run";
import { Fig, Missing } from "@/parts/figures";
import { Picked, Raw, among } from "@/parts/Records";
import { Absent, Behind, Table } from "@/parts/Table";
import { Warnings } from "@/parts/Warnings";

type Fact = [string, string];

/** Nested settings as lines: `load.requests: 12`; bytes as MB or GB, fractions short. */
function flat(value: unknown, path = ""): Fact[] {
  if (value === null || value === undefined) return [[path, "n/a (not set)"]];
  if (typeof value === "number" && path.endsWith("_bytes")) return [[path.replace(/_bytes$/, ""), asBytes(value)]];
  if (typeof value === "number") return [[path, String(Number.isInteger(value) ? value : +value.toPrecision(4))]];
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

type Block = Run["blocks"][number];
const asPercent = (x: number) => asPoints(x, false) + "%";
const drift = (b: Block): Figure => ({ ...b.drift, value: b.drift.value == null ? null : Math.expm1(b.drift.value) });
const blockText = (b: Block) => `block ${b.block + 1}: ${figureText(drift(b), asPercent)}; `
  + (b.invalid_for.length ? `left out for ${b.invalid_for.join(", ")}` : "left out for no variant");

const HEIGHT = 180;

/** Block by block, how far the machine moved; a cross is a block that some variant's figures leave out. */
function Drift({ blocks, margin }: { blocks: Block[]; margin: number | undefined }) {
  const known = blocks.filter((b) => b.drift.value != null);
  if (!known.length) return <Absent>Drift: n/a ({blocks[0]?.drift.reason ?? "no load was measured"}).</Absent>;
  const most = Math.max(...known.map((b) => Math.abs(drift(b).value!)), margin ?? 0.01) * 1.15;
  return (
    <Chart title="Drift of the machine, block by block" height={HEIGHT} most={720}>
      {(width) => {
        const [left, right, top, bottom] = [58, width - 14, 22, HEIGHT - 40];
        const x = scalePoint(blocks.map((b) => b.block), [left, right]).padding(0.5);
        const y = scaleLinear([-most, most], [bottom, top]).nice(5);
        const every = Math.ceil(blocks.length / Math.max(1, (right - left) / 28));
        return (
          <>
            <XAxis scale={(i) => x(blocks[i]!.block)!} ticks={blocks.map((_, i) => i).filter((i) => i % every === 0)} format={(i) => `${blocks[i]!.block + 1}`}
              y={bottom} top={top} from={left} to={right} label="block" />
            <YAxis scale={y} ticks={y.ticks(5)} format={(v) => asPercent(v).replace(".0%", "%")} x={left} right={right} label={`the baseline, later over earlier${margin === undefined ? "" : `; dashed: the margin, ${asPercent(margin).replace(".0%", "%").replace("+", "\u00b1")}`}`} />
            <line className="zero" x1={left} x2={right} y1={y(0)} y2={y(0)} />
            {margin === undefined ? null : [margin, -margin].map((m) => (
              <g className="rule" key={m}><line x1={left} x2={right} y1={y(m)} y2={y(m)} /></g>
            ))}
            {known.map((b) => {
              const [px, py] = [x(b.block)!, y(drift(b).value!)];
              const out = b.invalid_for.length > 0;
              return (
                <g key={b.block} className="drift" data-point={`block ${b.block}`} onClick={() => setState("point", `block ${b.block}`)}>
                  <title>{blockText(b)}</title>
                  <line x1={px} x2={px} y1={y(0)} y2={py} stroke="var(--ink)" strokeWidth={2} />
                  {out ? <path d="M-5,-5L5,5M-5,5L5,-5" transform={`translate(${px},${py})`} stroke="var(--bad)" strokeWidth={2.2} />
                    : <circle cx={px} cy={py} r={4.5} fill="var(--ink)" />}
                </g>
              );
            })}
          </>
        );
      }}
    </Chart>
  );
}

/** As much of the raw JSON as a page shows without trouble. */
const SHOWN = 200_000;

function RawJson({ run }: { run: Run }) {
  const [text] = useState(() => JSON.stringify(run, null, 1));
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "summary.json";
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <>
      <p className="note">
        {text.length > SHOWN ? `The first ${asCount(SHOWN / 1000)} kB of ${asCount(Math.ceil(text.length / 1000))} kB. ` : ""}
        It is in this page whole: <button type="button" className="more" onClick={save}>Save summary.json</button>
      </p>
      <pre tabIndex={0}>{text.slice(0, SHOWN)}</pre>
    </>
  );
}

type Gpu = { name?: string; memory?: string; driver?: string };

/** Each kind once: `2 x NVIDIA H100 80GB HBM3, 81559 MiB, driver 580.1`. */
function gpuText(gpus: Gpu[]): string {
  const told = gpus.map(({ name, memory, driver }) => [name ?? "a GPU", memory, driver && `driver ${driver}`].filter(Boolean).join(", "));
  return [...new Set(told)].map((one) => {
    const count = told.filter((other) => other === one).length;
    return count > 1 ? `${count} x ${one}` : one;
  }).join("; ") || "none";
}

export function RunView({ run }: { run: Run }) {
  const { client, ceilings, command, packages, gpus, ...machine } = run.environment as Record<string, unknown> & { gpus?: Gpu[] };
  const { engines, hashes, ...settings } = run.settings as Record<string, unknown>;
  const margin = (settings.margin as { throughput_ratio?: number } | undefined)?.throughput_ratio;
  const late = run.loads.filter((l) => l.schedule_lag?.value != null || l.read_lag?.value != null);
  const open = run.loads.filter((l) => l.schedule_lag?.value != null);
  return (
    <>
      <h3>Machine</h3>
      <Facts of={gpus ? { ...machine, gpus: gpuText(gpus) } : machine} />
      {command ? <><h3>How to run it again</h3><pre>{String(command)}</pre></> : null}
      <h3>Warnings</h3>
      {run.warnings.length ? <Warnings run={run} /> : <p className="note">None.</p>}
      <h3>What was not measured</h3>
      {run.not_measured.length ? (
        <Table caption="Each with its reason" first={12} rows={run.not_measured} columns={[
          { title: "what", cell: (r) => r.what }, { title: "reason", cell: (r) => r.reason },
        ]} />
      ) : <p className="note">Everything that the experiment asked for was measured.</p>}
      <h3>Blocks</h3>
      {run.blocks.length ? (
        <>
        <p className="note">
          How far the machine moved during a block: the later measurement of the baseline against the earlier. A block that moved more
          than a variant differs is left out for that variant (a cross).
        </p>
        <Drift blocks={run.blocks} margin={margin} />
        <Picked tell={among(run.blocks, (b) => `block ${b.block}`, (b) => ({ text: blockText(b), cells: b.cells ?? [] }))} />
        <Table caption="Drift by block" rows={run.blocks} columns={[
            { title: "block", cell: (b) => b.block + 1 },
            { title: "drift", number: true, cell: (b) => <Fig figure={drift(b)} format={asPercent} /> },
            { title: "left out for", cell: (b) => b.invalid_for.join(", ") || "no variant" },
            { title: "remarks", cell: (b) => b.marks?.length ? <span className="long">{b.marks.join("; ")}</span> : "none" },
            { title: "raw", cell: (b) => <Raw cells={b.cells} /> },
          ]} />
        </>
      ) : <Absent>{run.loads.length ? "Drift by block: n/a (no noise floor was measured)." : "No blocks: no load was measured."}</Absent>}
      <h3>How late the client was</h3>
      {late.length ? (
        <>
          <p className="note">
            {metric("schedule_lag").label}: {metric("schedule_lag").definition}. {open.length ? "" : "This run has closed loops alone, which have no schedule. "}
            Read lag: from a chunk&apos;s arrival in the kernel to when the client read it. Both are the worst block&apos;s p99; a window in which
            they are too large shows the client and is left out.
          </p>
          <Behind title={`${late.length} loads`}>
            <Table caption="p99 of the client's own lateness, worst block" rows={late} columns={[
              { title: "load", cell: (l) => l.load }, { title: "variant", cell: (l) => l.variant },
              { title: "schedule lag", number: true, cell: (l) => <Fig figure={l.schedule_lag ?? {}} format={asMetric("schedule_lag")} /> },
              { title: "read lag", number: true, cell: (l) => <Fig figure={l.read_lag ?? {}} format={asMetric("schedule_lag")} /> },
              { title: "requests", number: true, cell: (l) => l.requests },
              { title: "raw", cell: (l) => <Raw cells={l.cells} /> },
            ]} />
          </Behind>
        </>
      ) : <Absent>Schedule lag: n/a ({run.loads.length ? run.loads[0]!.schedule_lag?.reason ?? "the version that wrote this summary did not tell" : "no load was measured"}).</Absent>}
      {run.noise_floor.length ? (
        <>
          <h3>Noise floor</h3>
          <p className="note">The baseline against itself, measured again. A difference that is not above it is not a finding.</p>
          <Table caption="Baseline against baseline" rows={run.noise_floor} columns={[
            { title: "subject", cell: (n) => n.subject },
            { title: "kind", cell: (n) => n.kind },
            { title: "difference", number: true, cell: (n) => <Fig figure={n.effect} format={n.kind === "task" ? asPoints : n.kind === "speed" ? asRatio : asFineRatio} /> },
            { title: "flips", number: true, cell: (n) => n.lost == null ? null : `${n.lost} / ${n.gained}` },
            { title: "n", number: true, cell: (n) => n.n == null ? <Missing /> : asCount(n.n) },
          ]} />
        </>
      ) : null}
      <h3>Settings</h3>
      <Facts of={settings} />
      {[["Engines", engines], ["Hashes of the work", hashes], ["Packages", packages], ["The load client, calibrated", client],
        ["Ceilings of the machine", ceilings], ["Artifacts", run.artifacts]].map(([title, of]) => of ? (
        <Behind key={String(title)} title={String(title)}><Facts of={of} /></Behind>
      ) : null)}
      <Behind title="Raw JSON"><RawJson run={run} /></Behind>
    </>
  );
}

