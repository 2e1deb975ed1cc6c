import { scaleLinear } from "d3-scale";
import { Chart, Rule, XAxis } from "@/charts/frame";
import { type Format, asBytes, figureText, metric } from "@/data/format";
import { type Figure, type Run, whyMissing } from "@/data/run";
import { Fig } from "@/parts/figures";
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

type Row = { variant: string; figures: Record<string, Figure> };

export function Memory({ run }: { run: Run }) {
  const gpu = run.gpu_memory.length > 0;
  const parts = gpu ? GPU : HOST;
  const source = (gpu ? run.gpu_memory : run.memory) as unknown as ({ variant: string } & Record<string, Figure>)[];
  const rows: Row[] = source.map((row) => ({ variant: row.variant, figures: row }));
  if (!rows.length) return <Absent>Memory: n/a ({whyMissing(run, "memory")}).</Absent>;
  const drawn = DEVICES.filter((gb) => gb * GIB <= NEARLY * end(rows, parts));
  const columns = gpu
    ? [...GPU.map((p) => p.key), "gpu_total_bytes", "gpu_kv_needed_bytes", "gpu_footprint_bytes"]
    : [...HOST.map((p) => p.key), "rss_bytes", "pss_bytes"];
  return (
    <>
      <div className="parts">
        {parts.map(({ key, fill }) => (
          <span key={key}>
            <svg width={14} height={14} aria-hidden="true" style={{ verticalAlign: -2, marginRight: 6 }}>
              <rect x={0.5} y={0.5} width={13} height={13} stroke="var(--soft)" fill={fill} />
            </svg>
            {short(key)}
          </span>
        ))}
      </div>
      <Bars rows={rows} parts={parts} devices={drawn} />
      <p className="note">
        {gpu
          ? "Measured, in the look of one window in which most was in use. The engine reserves as much KV cache as its setting allows; what the measured loads need of it is in the table, and the footprint counts only that."
          : `The bytes of the weights file, and what the engine reserved for keys and values. What else is in memory is not split up: ${run.environment.gpus instanceof Array && run.environment.gpus.length ? whyMissing(run, "GPU memory") : "the process's resident memory is in the table"}.`}
        {drawn.length ? ` Dashed rules are the memory of common GPUs: ${drawn.join(", ")} GB.` : ` All of it is less than the ${DEVICES[0]} GB of a small GPU.`}
      </p>
      <Table caption="Memory" rows={rows} columns={[
        { title: "variant", cell: (r) => r.variant },
        ...columns.map((key) => ({ title: short(key), hint: metric(key).definition, number: true,
          cell: (r: Row) => <Fig figure={r.figures[key] ?? {}} format={asBytes} /> })),
      ]} />
    </>
  );
}

const sum = (row: Row, parts: Part[]) => parts.reduce((all, p) => all + (row.figures[p.key]?.value ?? 0), 0);

/** A little beyond the longest bar, so that a device just above it is seen. */
const end = (rows: Row[], parts: Part[]) => Math.max(...rows.map((row) => sum(row, parts)), 1) * 1.06;

function Bars({ rows, parts, devices }: { rows: Row[]; parts: Part[]; devices: number[] }) {
  const most = end(rows, parts);
  const [pitch, bar, top] = [46, 24, 26];
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
              const missing = parts.filter((p) => row.figures[p.key]?.value == null).map((p) => metric(p.key).label);
              return (
                <g key={row.variant}>
                  <text className="strong" x={left} y={y + 13}>{row.variant}<tspan className="sum" dx={8}>
                    {format(sum(row, parts))}{missing.length ? ` without ${missing.join(", ")}` : ""}</tspan></text>
                  {parts.map(({ key, fill }) => {
                    const figure = row.figures[key];
                    if (figure?.value == null) return null;
                    const start = from;
                    from += figure.value;
                    return (
                      <rect key={key} className="part" x={x(start)} width={Math.max(0, x(from) - x(start))} y={y + 18} height={bar} fill={fill}
                        stroke="var(--soft)" strokeWidth={0.7}>
                        <title>{`${row.variant}, ${metric(key).label}: ${figureText(figure, format)}`}</title>
                      </rect>
                    );
                  })}
                </g>
              );
            })}
            {devices.map((gb) => (
              <Rule key={gb} vertical at={x(gb * GIB)} from={top} to={bottom} text={`${gb} GB`} anchor="middle" />
            ))}
          </>
        );
      }}
    </Chart>
  );
}
