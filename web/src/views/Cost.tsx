import { scaleLinear } from "d3-scale";
import { Chart, XAxis } from "@/charts/frame";
import { Legend, looks } from "@/charts/marks";
import { useAddress } from "@/data/address";
import { type Format, asMetric, figureText, grouped, hasInterval } from "@/data/format";
import { type Figure, type Run, ladders, whyMissing } from "@/data/run";
import { Fig } from "@/parts/figures";
import { Absent, Behind, Table } from "@/parts/Table";

type Row = { workload: string; variant: string; gpus: number; throughput: Figure; at: string; between: boolean; usd: Figure };

const asUsd: Format = (value, unit = true) => (unit ? "$" : "") + grouped(value, value < 0.1 ? 4 : value < 10 ? 3 : 2);

/** USD per million output tokens at `hour` USD for each GPU: the interval's ends change places. */
function cost(throughput: Figure, hour: number): Figure {
  const of = (rate: number | null | undefined) => rate == null ? null : (hour / (rate * 3600)) * 1e6;
  return { value: of(throughput.value), low: of(throughput.high), high: of(throughput.low), reason: throughput.reason };
}

/** What each variant makes of an hour: at the highest load that meets the SLO where there is one, else at its best load. */
function rowsOf(run: Run, price: number): Row[] {
  const gpus = new Map<string, number>([
    ...run.gpu_memory.map((g) => [g.variant, g.gpus ?? 1] as const), ...run.costs.map((c) => [c.variant, c.gpus] as const),
  ]);
  const workloads = [...new Set(ladders(run.loads.map((l) => l.load)).map((g) => g.title))];
  return workloads.flatMap((workload) => run.variants.map(({ name }) => {
    const n = gpus.get(name) ?? 1;
    const place = { workload, variant: name, gpus: n };
    const capacity = run.capacity.find((c) => c.workload === workload && c.variant === name);
    if (capacity) {
      const at = capacity.highest.value == null ? capacity.reason ?? capacity.highest.reason ?? "no load meets the SLO"
        : `${capacity.bound === "at least" ? "at least " : ""}${grouped(capacity.highest.value, 1)} ${capacity.unit}, the most that meets the SLO`;
      const throughput = capacity.output_throughput;
      return { ...place, throughput, at, between: capacity.bound === "exact", usd: cost(throughput, price * n) };
    }
    const best = run.speed.filter((s) => s.metric === "output_throughput" && s.variant === name && s.load.startsWith(`${workload}@`))
      .toSorted((a, b) => (b.value.value ?? 0) - (a.value.value ?? 0))[0];
    const throughput = best?.value ?? { reason: "not measured" };
    return { ...place, throughput, at: best ? `${best.load}, the highest throughput` : "n/a", between: false, usd: cost(throughput, price * n) };
  }));
}

export function Cost({ run }: { run: Run }) {
  const { get, set } = useAddress();
  if (!run.loads.length) return <Absent>Cost: n/a ({whyMissing(run, "speed", "load")}).</Absent>;
  const gpu = ((run.environment.gpus as unknown[] | undefined) ?? []).length > 0;
  const policy = run.costs[0] ? run.costs[0].hour_usd / run.costs[0].gpus : null;
  const asked = Number(get("price"));
  const price = asked > 0 ? asked : policy;
  const rows = price === null ? [] : rowsOf(run, price);
  return (
    <>
      <div className="controls">
        <label>USD for an hour of one {gpu ? "GPU" : "machine"}{" "}
          <input type="number" min="0" step="0.01" inputMode="decimal" defaultValue={price ?? ""}
            onChange={(event) => set("price", event.target.value)} />
        </label>
        <Legend run={run} />
      </div>
      <p className="note">
        {policy === null
          ? "The policy of this run names no price. Give one: it changes only what is computed from the measured throughput, and no verdict."
          : `The policy assumes ${asUsd(policy)}. Another price changes only what is computed here from the measured throughput; the verdicts keep the policy's.`}
        {run.capacity.length ? " At the highest load that meets the SLO; hatched where it lies between two measured loads, interpolated."
          : " At the load with the highest throughput: no SLO was asked, so this is the least that a token can cost."}
      </p>
      {price === null ? <Absent>Cost: n/a (no price).</Absent> : (
        <>
          <Bars run={run} rows={rows} />
          <Behind title="The figures: cost">
            <Table caption="USD per million output tokens" rows={rows} columns={[
              { title: "workload", cell: (r) => r.workload }, { title: "variant", cell: (r) => r.variant },
              { title: "USD / M tokens", number: true, cell: (r) => <Fig figure={r.usd} format={asUsd} /> },
              { title: "throughput", number: true, cell: (r) => <Fig figure={r.throughput} format={asMetric("output_throughput")} /> },
              { title: "at", cell: (r) => r.at }, { title: gpu ? "GPUs" : "machines", number: true, cell: (r) => r.gpus },
            ]} />
          </Behind>
        </>
      )}
    </>
  );
}

const [PITCH, HEAD] = [26, 30];

function Bars({ run, rows }: { run: Run; rows: Row[] }) {
  const look = looks(run);
  const workloads = [...new Set(rows.map((r) => r.workload))];
  const most = Math.max(...rows.flatMap((r) => [r.usd.value ?? 0, r.usd.high ?? 0]));
  if (!(most > 0)) return <Absent>Cost: n/a ({rows.map((r) => r.usd.reason).find(Boolean) ?? "no throughput"}).</Absent>;
  const height = workloads.length * HEAD + rows.length * PITCH + 44;
  return (
    <Chart title="Cost of a million output tokens" height={height}>
      {(width) => {
        const [left, right, bottom] = [100, width - 90, height - 42];
        const x = scaleLinear([0, most], [left, right]);
        let y = 0;
        return (
          <>
            <defs>{[...look].map(([name, { colour }], i) => (
              <pattern key={name} id={`between-${i}`} width={6} height={6} patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
                <rect width={6} height={6} fill="var(--paper)" /><rect width={3} height={6} fill={colour} />
              </pattern>
            ))}</defs>
            <XAxis scale={x} ticks={x.ticks(Math.max(3, width / 140))} format={(v) => `$${+v.toPrecision(4)}`} y={bottom} top={4} from={left} to={right} label="USD per million output tokens (lower is better)" />
            {workloads.map((workload) => {
              const head = y;
              const mine = rows.filter((r) => r.workload === workload);
              y += HEAD + mine.length * PITCH;
              return (
                <g key={workload}>
                  <text className="strong" x={0} y={head + 20}>{workload}</text>
                  {mine.map((row, i) => {
                    const top = head + HEAD + i * PITCH;
                    const middle = top + PITCH / 2;
                    const index = [...look.keys()].indexOf(row.variant);
                    const own = look.get(row.variant)!;
                    return (
                      <g key={row.variant}>
                        <text x={left - 8} y={middle} dy="0.32em" textAnchor="end">{row.variant}</text>
                        {row.usd.value == null ? <text x={left + 6} y={middle} dy="0.32em">n/a ({row.at})</text> : (
                          <>
                            <rect className="part" x={left} width={Math.max(1, x(row.usd.value) - left)} y={top + 5} height={PITCH - 10}
                              fill={row.between ? `url(#between-${index})` : own.colour} fillOpacity={0.5} stroke={own.colour}>
                              <title>{`${row.variant}, ${workload}: ${figureText(row.usd, asUsd)}; ${row.at}`}</title>
                            </rect>
                            {hasInterval(row.usd) ? <path className="whisker" stroke="var(--ink)" d={`M${x(row.usd.low)},${middle}H${x(row.usd.high)}`} /> : null}
                            <text x={Math.max(x(row.usd.value), x(row.usd.high ?? 0)) + 8} y={middle} dy="0.32em">{asUsd(row.usd.value)}</text>
                          </>
                        )}
                      </g>
                    );
                  })}
                </g>
              );
            })}
          </>
        );
      }}
    </Chart>
  );
}
