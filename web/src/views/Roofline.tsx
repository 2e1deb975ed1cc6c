import { scaleLog } from "d3-scale";
import { Names } from "@/charts/Names";
import { Chart, XAxis, YAxis } from "@/charts/frame";
import { Legend, Mark, looks } from "@/charts/marks";
import { type Format, asRatio, figureText, grouped, trimmed } from "@/data/format";
import { type Figure, type Load, type Run, found, parseLoad, requestsText, shortLoad, whyMissing } from "@/data/run";
import { useHidden } from "@/data/address";
import { Fig, Missing } from "@/parts/figures";
import { Picked, Raw, among } from "@/parts/Records";
import { Absent, Behind, Table } from "@/parts/Table";

type Row = Run["roofline"][number];
type Phase = { title: string; note: string; name: (load: Load) => string; mbu: (row: Row) => Figure; mfu: (row: Row) => Figure };

const PHASES: Phase[] = [
  { title: "Decode", note: "One token for each request in flight, step by step: the weights are read once a step, whatever the batch. Beside a point: its streams.", name: shortLoad, mbu: (row) => row.mbu, mfu: (row) => row.mfu },
  { title: "Prefill", note: "All tokens of a prompt at once: much arithmetic for each byte. Only where one stream waits, as TTFT else holds waiting. Beside a point: its workload.", name: (load) => load.workload, mbu: (row) => row.prefill_mbu, mfu: (row) => row.prefill_mfu },
];
const share: Format = (value) => {
  const percent = value * 100;
  return `${grouped(percent, percent < 1 ? 2 : percent < 10 ? 1 : 0)}%`;
};
const big = (scale: number, unit: string): Format => (value) => `${+(value / scale).toPrecision(3)} ${unit}`;

export function Roofline({ run }: { run: Run }) {
  const [hidden, toggle] = useHidden();
  const rows = run.roofline.filter((r) => !hidden.has(r.variant));
  const tell = among(PHASES.flatMap((phase) => rows.map((row) => ({ phase, row }))), ({ phase, row }) => keyOf(phase, row),
    ({ phase, row }) => ({ text: textOf(run, phase, row), cells: found(run).load(row.variant, row.load)?.cells ?? [] }));
  if (!run.roofline.length) return <Absent>Roofline: n/a ({whyMissing(run, "roofline")}).</Absent>;
  return (
    <>
      <div className="controls"><Legend run={run} hidden={hidden} toggle={toggle} /></div>
      <p className="note">
        Each point is one load. Up: the share of the arithmetic rate that was measured on this device. Right: operations for each byte,
        where 1 is the device's own balance of arithmetic rate and bandwidth. Left of 1 the sloping roof, bandwidth, is the limit; right
        of it the flat one, arithmetic. How far a point lies below its roof is what neither explains: the overhead of the sentences below.
      </p>
      <div className="multiples">
        {PHASES.map((phase) => (
          <figure key={phase.title}>
            <figcaption>{phase.title}</figcaption>
            <p className="note">{phase.note}</p>
            <Roof run={run} rows={rows} phase={phase} />
          </figure>
        ))}
      </div>
      <Picked tell={tell} />
      {run.explanations.length ? <h3>Why each variant is as fast as it is</h3> : null}
      <ul className="sentences">
        {run.explanations.map((e) => <li key={`${e.workload} ${e.variant}`}><b>{e.workload}</b> {e.sentence}.</li>)}
      </ul>
      <Behind title="The figures: roofline">
        <Table caption="Shares of the ceilings that were measured on this machine" rows={run.roofline} columns={[
          { title: "load", cell: (r) => r.load }, { title: "variant", cell: (r) => r.variant },
          { title: "batch", number: true, cell: (r) => r.batch == null ? <Missing /> : grouped(r.batch, 1) },
          { title: "bytes/token", number: true, cell: (r) => <Fig figure={r.bytes_per_token} format={big(1e6, "MB")} /> },
          { title: "FLOP/token", number: true, cell: (r) => <Fig figure={r.flops_per_token} format={big(1e9, "GFLOP")} /> },
          { title: "MBU", hint: "decode: share of the bandwidth", number: true, cell: (r) => <Fig figure={r.mbu} format={share} /> },
          { title: "MFU", hint: "decode: share of the arithmetic rate", number: true, cell: (r) => <Fig figure={r.mfu} format={share} /> },
          { title: "prefill MFU", number: true, cell: (r) => <Fig figure={r.prefill_mfu} format={share} /> },
          { title: "bound by", cell: (r) => r.bound ?? <Missing reason={r.reason} /> },
          { title: "predicted", hint: "output throughput, variant / baseline", number: true, cell: (r) => <Fig figure={r.predicted} format={asRatio} /> },
          { title: "measured", number: true, cell: (r) => <Fig figure={r.measured} format={asRatio} /> },
          { title: "in words", cell: (r) => <span className="long">{r.explanation}</span> },
          { title: "raw", cell: (r) => <Raw cells={found(run).load(r.variant, r.load)?.cells} /> },
        ]} />
      </Behind>
    </>
  );
}

const keyOf = (phase: Phase, row: Row) => `${phase.title} ${row.variant} ${row.load}`;
const textOf = (run: Run, phase: Phase, row: Row) =>
  `${row.variant}, ${row.load}, ${phase.title.toLowerCase()}: MBU ${figureText(phase.mbu(row), share)}; MFU ${figureText(phase.mfu(row), share)}`
  + `${phase.title === "Decode" ? `; bound by ${row.bound ?? "n/a"}` : ""}; ${requestsText(found(run).load(row.variant, row.load))}`;

/** The roof in shares: what bandwidth allows at `x` of the balance, and what arithmetic does. */
function Roof({ run, rows, phase }: { run: Run; rows: Row[]; phase: Phase }) {
  const look = looks(run);
  const points = rows.map((row) => ({ row, mbu: phase.mbu(row), mfu: phase.mfu(row) }))
    .filter((p) => (p.mbu.value ?? 0) > 0 && (p.mfu.value ?? 0) > 0)
    .map((p) => ({ ...p, x: p.mfu.value! / p.mbu.value!, y: p.mfu.value! }));
  if (!points.length) return <Absent>n/a ({rows.map((r) => phase.mfu(r).reason ?? r.reason).find(Boolean) ?? "not measured"})</Absent>;
  const height = 340;
  return (
    <Chart title={`${phase.title} on the roof of the device`} height={height} most={580}>
      {(width) => {
        const [left, right, top, bottom] = [58, width - 14, 26, height - 44];
        const xs = points.map((p) => p.x);
        const x = scaleLog([Math.min(...xs, 0.5) / 1.6, Math.max(...xs, 2) * 1.6], [left, right]);
        const y = scaleLog([Math.min(...points.map((p) => p.y)) / 2, Math.max(1.5, ...points.map((p) => p.y * 1.2))], [bottom, top]);
        const [from, to] = x.domain() as [number, number];
        const start = Math.max(from, y.domain()[0]!);
        const angle = (Math.atan2(y(start) - y(1), x(1) - x(start)) * 180) / Math.PI;
        // 1, 10, 100; with few of them 2 and 5 between.
        const decades = (ticks: number[]) => {
          const of = (digits: string) => ticks.filter((t) => new RegExp(`^(0\\.0*)?[${digits}]0*$`).test(String(+t.toPrecision(3))));
          return of("1").length > 2 ? of("1") : of("125");
        };
        return (
          <>
            <XAxis scale={x} ticks={decades(x.ticks())} format={(v) => `${+v.toPrecision(3)}`} y={bottom} top={top} from={left} to={right} label="operations per byte, 1 = the device's balance" />
            <YAxis scale={y} ticks={decades(y.ticks())} format={(v) => trimmed(share(v))} x={left} right={right} label="share of the arithmetic rate" />
            <polyline className="roof" points={`${x(start)},${y(start)} ${x(1)},${y(1)} ${x(to)},${y(1)}`} />
            <text className="roof-name" x={x(to)} y={y(1) - 6} textAnchor="end">arithmetic</text>
            <text className="roof-name" textAnchor="end" transform={`translate(${x(1)},${y(1)}) rotate(${-angle})`} dx={-8} dy={-6}>bandwidth</text>
            {points.map((p) => (
              <Mark key={`${p.row.load} ${p.row.variant}`} look={look.get(p.row.variant)!} name={p.row.variant} x={x(p.x)} y={y(p.y)}
                title={textOf(run, phase, p.row)} point={keyOf(phase, p.row)} />
            ))}
            <Names spots={points.map((p) => ({ key: keyOf(phase, p.row), text: phase.name(parseLoad(p.row.load)), x: x(p.x), y: y(p.y) }))} />
          </>
        );
      }}
    </Chart>
  );
}
