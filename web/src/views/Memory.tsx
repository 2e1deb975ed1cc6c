import { scaleLinear } from "d3-scale";
import { Chart, XAxis } from "@/charts/frame";
import { setState } from "@/data/address";
import { type Format, asBytes, figureText, grouped, metric } from "@/data/format";
import { type Figure, type Run, whyMissing } from "@/data/run";
import { Fig } from "@/parts/figures";
import { Picked, Raw, among } from "@/parts/Records";
import { Absent, Table } from "@/parts/Table";

// A GPU sold as "80 GB" has 80 GiB, a little of it taken by its own firmware.
const DEVICES = [16, 24, 48, 80, 141];
const GIB = 2 ** 30;
const NEARLY = 1.02;

// A part's fill: solid for weights, hatched for what was reserved, so that the parts do not rest on hue alone.
type Part = { key: string; fill: string };
const GPU: Part[] = [
  { key: "gpu_weights_bytes", fill: "var(--hue-1)" },
  { key: "gpu_kv_cache_bytes", fill: "url(#hatch)" },
  { key: "gpu_other_bytes", fill: "var(--hue-5)" },
  { key: "gpu_foreign_bytes", fill: "var(--hue-4)" },
  { key: "gpu_free_bytes", fill: "none" },
];
const HOST: Part[] = [{ key: "weights_bytes", fill: "var(--hue-1)" }, { key: "kv_cache_bytes", fill: "url(#hatch)" }];

/** In a view of one GPU's memory its name need not be in every label. */
const short = (key: string) => metric(key).label.replace(/ on the GPU$/, "");

type Row = { variant: string; figures: Record<string, Figure>; predicted: Predicted | undefined; cells: string[] };
type Predicted = Run["predicted_memory"][number];

export function Memory({ run }: { run: Run }) {
  const gpu = run.gpu_memory.length > 0;
  const parts = gpu ? GPU : HOST;
  const source = (gpu ? run.gpu_memory : run.memory) as unknown as ({ variant: string; cell?: string | null } & Record<string, Figure>)[];
  const rows: Row[] = source.map((row) => ({
    variant: row.variant, figures: row, predicted: run.predicted_memory.find((p) => p.variant === row.variant),
    cells: gpu ? (row.cell ? [row.cell] : []) : run.loads.filter((l) => l.variant === row.variant).flatMap((l) => l.cells ?? []),
  }));
  if (!rows.length) return <Absent>Memory: n/a ({whyMissing(run, "memory")}).</Absent>;
  const drawn = DEVICES.filter((gb) => gb * GIB <= NEARLY * end(rows, parts));
  const columns = gpu
    ? [...GPU.map((p) => p.key), "gpu_total_bytes", "gpu_kv_needed_bytes", "gpu_footprint_bytes"]
    : [...HOST.map((p) => p.key), "rss_bytes", "pss_bytes"];
  const tell = among(rows, (row) => row.variant, (row) => ({
    text: `${row.variant}: ${parts.map((p) => `${short(p.key)} ${figureText(row.figures[p.key] ?? {}, asBytes)}`).join("; ")}`,
    cells: row.cells,
  }));
  return (
    <>
      <div className="parts">
        {parts.filter(({ key }) => rows.some((row) => row.figures[key]?.value !== 0)).map(({ key, fill }) => (
          <span key={key}>
            <svg width={14} height={14} aria-hidden="true"><rect x={0.5} y={0.5} width={13} height={13} stroke="var(--soft)" fill={fill} /></svg>
            {short(key)}
          </span>
        ))}
        <span>
          <svg width={14} height={14} aria-hidden="true"><rect x={0.5} y={4.5} width={13} height={5} stroke="var(--ink)" fill="none" strokeDasharray="3 2" /></svg>
          predicted: weights, then KV cache
        </span>
      </div>
      <Bars rows={rows} parts={parts} devices={drawn} />
      <p className="note">
        {gpu
          ? "Measured in one window, at the moment when most was in use. The engine reserves as much KV cache as its setting allows; what the measured loads need of it is in the table, and the footprint counts only that."
          : `The bytes of the weights, and what the engine reserved for keys and values. Overhead and what is free are not split up here: ${run.environment.gpus instanceof Array && run.environment.gpus.length ? whyMissing(run, "GPU memory") : "the process's resident memory, all of it together, is in the table"}.`}
        {drawn.length ? ` Dashed rules: the memory of common GPUs, ${drawn.join(", ")} GB by their names; such a GB is 1.07 GB of the axis.` : ` All of it is less than the ${DEVICES[0]} GB of a small GPU.`}
      </p>
      <Picked tell={tell} />
      <Table caption="Memory, as measured" rows={rows} columns={[
        { title: "variant", cell: (r) => r.variant },
        ...columns.map((key) => ({ title: short(key), hint: metric(key).definition, number: true,
          cell: (r: Row) => <Fig figure={r.figures[key] ?? {}} format={asBytes} /> })),
        ...(gpu ? [{ title: "fits", hint: "the smallest of these GPUs that holds the footprint; computed, nothing was run on it", cell: (r: Row) => fits(r) }] : []),
        { title: "raw", cell: (r) => <Raw cells={r.cells} /> },
      ]} />
      <h3>Measured against predicted</h3>
      {run.predicted_memory.length ? (
        <>
          <p className="note">
            Predicted by arithmetic: the bytes of the weight files and what the engine&apos;s kernel widens of them, and of a token&apos;s keys and values (2 x layers x heads x head size x
            bytes a value) times the tokens that the engine has room for{gpu ? ", or that the fullest load of fixed streams holds at most" : ""}. What is
            measured beyond that is padding, what the engine keeps unpacked, or another format of the cache.
          </p>
          <Table caption="Measured, predicted, and the difference" rows={rows.flatMap((r) => compared(r, gpu))} columns={[
            { title: "variant", cell: (c) => c.variant }, { title: "part", cell: (c) => c.part },
            { title: "measured", number: true, cell: (c) => <Fig figure={c.measured} format={asBytes} /> },
            { title: "predicted", number: true, cell: (c) => <Fig figure={c.predicted} format={asBytes} /> },
            { title: "difference", number: true, cell: (c) => c.measured.value == null || !c.predicted.value ? "n/a" : asPercent(c.measured.value / c.predicted.value - 1) },
            { title: "from", cell: (c) => <span className="long">{c.from}</span> },
          ]} />
        </>
      ) : <Absent>Predicted: n/a (this run&apos;s summary holds no predictions; write it again with this version).</Absent>}
    </>
  );
}

const asPercent = (share: number) => Math.abs(share) < 5e-5 ? "none" : `${share < 0 ? "\u2212" : "+"}${grouped(Math.abs(share) * 100, Math.abs(share) < 0.1 ? 2 : 0)}%`;

function fits(row: Row): string {
  const footprint = row.figures.gpu_footprint_bytes?.value;
  if (footprint == null) return "n/a";
  const device = DEVICES.find((gb) => footprint <= gb * GIB);
  return device ? `${device} GB` : `more than ${DEVICES.at(-1)} GB`;
}

function compared(row: Row, gpu: boolean) {
  const { variant, figures, predicted: p } = row;
  const none: Figure = { reason: "not predicted" };
  const line = (part: string, key: string, predicted: Figure | undefined, from: string) =>
    ({ variant, part, measured: figures[key] ?? {}, predicted: predicted ?? none, from });
  const bytes = p?.kv_bytes_per_token.value;
  const tokens = (figure: Figure | undefined, say: (count: string) => string) =>
    figure?.value == null || bytes == null ? "n/a" : `${say(`${grouped(figure.value, 0)} tokens`)}, ${asBytes(bytes)} a token`;
  // A host's weights are the file's bytes themselves: there is nothing to hold against them.
  return [
    ...(gpu ? [line("weights", "gpu_weights_bytes", p?.weights_bytes, "bytes of the weight files, and what the kernel widens of them")] : []),
    line("KV cache", gpu ? "gpu_kv_cache_bytes" : "kv_cache_bytes", p?.kv_cache_bytes, tokens(p?.kv_room_tokens, (count) => `room for ${count}`)),
    ...(gpu ? [line("KV cache needed", "gpu_kv_needed_bytes", p?.kv_needed_bytes, tokens(p?.kv_held_tokens, (count) => `${count} at most`))] : []),
  ];
}

const sum = (row: Row, parts: Part[]) => parts.reduce((all, p) => all + (row.figures[p.key]?.value ?? 0), 0);

/** A little beyond the longest bar, so that a device just above it is seen. */
const end = (rows: Row[], parts: Part[]) => Math.max(...rows.map((row) => sum(row, parts)), 1) * 1.06;

function Bars({ rows, parts, devices }: { rows: Row[]; parts: Part[]; devices: number[] }) {
  const most = end(rows, parts);
  const [pitch, bar, top] = [56, 22, 26];
  const height = top + rows.length * pitch + 44;
  const format: Format = asBytes;
  return (
    <Chart title="Memory of each variant, by part" height={height}>
      {(width) => {
        const [left, right, bottom] = [12, width - 16, top + rows.length * pitch];
        const x = scaleLinear([0, most], [left, right]);
        const unit = asBytes(most).split(" ")[1]!;
        const scale = { GB: 1e9, MB: 1e6, kB: 1e3, B: 1 }[unit] ?? 1;
        return (
          <>
            <defs>
              <pattern id="hatch" width={6} height={6} patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
                <rect width={6} height={6} fill="var(--paper)" /><rect width={3} height={6} fill="var(--hue-3)" />
              </pattern>
            </defs>
            <XAxis scale={x} ticks={x.ticks(Math.max(3, width / 120))} format={(v) => `${+(v / scale).toPrecision(4)}`} y={bottom} top={top} from={left} to={right} label={unit} />
            {rows.map((row, i) => {
              const y = top + i * pitch;
              let from = 0;
              const missing = parts.filter((p) => row.figures[p.key]?.value == null).map((p) => short(p.key));
              const predicted = [row.predicted?.weights_bytes.value, row.predicted?.kv_cache_bytes.value];
              const free = row.figures.gpu_free_bytes?.value ?? 0;
              return (
                <g key={row.variant}>
                  <text className="strong" x={left} y={y + 14}>{row.variant}<tspan className="sum" dx={8}>
                    {free ? `${format(sum(row, parts) - free)} in use of ${format(sum(row, parts))}` : format(sum(row, parts))}
                    {missing.length ? ` without ${missing.join(", ")}` : ""}</tspan></text>
                  {parts.map(({ key, fill }) => {
                    const figure = row.figures[key];
                    if (figure?.value == null) return null;
                    const start = from;
                    from += figure.value;
                    return (
                      <rect key={key} className="part" data-point={row.variant} x={x(start)} width={Math.max(0, x(from) - x(start))} y={y + 20} height={bar}
                        fill={fill} stroke="var(--soft)" strokeWidth={0.7} pointerEvents="all" onClick={() => setState("point", row.variant)}>
                        <title>{`${row.variant}, ${metric(key).label}: ${figureText(figure, format)}`}</title>
                      </rect>
                    );
                  })}
                  {predicted.map((bytes, j) => bytes == null ? null : (
                    <rect key={j} className="predicted" x={x(j ? predicted[0] ?? 0 : 0)} width={Math.max(0, x(bytes) - x(0))} y={y + 20 + bar + 2} height={5}
                      fill="none" stroke="var(--ink)" strokeDasharray="3 2">
                      <title>{`${row.variant}, predicted ${j ? "KV cache" : "weights"}: ${format(bytes)}`}</title>
                    </rect>
                  ))}
                </g>
              );
            })}
            {devices.map((gb) => (
              <g key={gb} className="rule">
                <text x={x(gb * GIB)} y={top - 4} textAnchor="middle">{width > 620 ? `${gb} GB` : gb}</text>
                {rows.map((row, i) => <line key={row.variant} x1={x(gb * GIB)} x2={x(gb * GIB)} y1={top + i * pitch + 18} y2={top + i * pitch + 20 + bar + 9} />)}
              </g>
            ))}
          </>
        );
      }}
    </Chart>
  );
}
