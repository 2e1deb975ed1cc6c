import { scaleLinear, scaleLog } from "d3-scale";
import { Chart, XAxis, YAxis } from "@/charts/frame";
import { Cross, Legend, Mark, looks } from "@/charts/marks";
import { useAddress } from "@/data/address";
import { type Format, asMetric, figureText, grouped, hasInterval } from "@/data/format";
import { type Figure, type Run, ladders, loadText, parseLoad, whyMissing } from "@/data/run";
import { Choice } from "@/parts/Choice";
import { Fig } from "@/parts/figures";
import { Absent, Behind, Table } from "@/parts/Table";

type Point = { variant: string; load: string; x: Figure; y: Figure; blocks: number; gpus: number; requests: number; failed: number };

const perSecond: Format = (value, unit = true) => grouped(value, value < 100 ? 1 : 0) + (unit ? " tok/s" : "");

/** 1 / time: the interval's ends change places. */
const inverse = (f: Figure): Figure => f.value == null ? f
  : { value: 1 / f.value, low: f.high == null ? null : 1 / f.high, high: f.low == null ? null : 1 / f.low, reason: f.reason };
const over = (f: Figure, by: number): Figure => f.value == null ? f
  : { value: f.value / by, low: f.low == null ? null : f.low / by, high: f.high == null ? null : f.high / by, reason: f.reason };

/** What users feel at each load: their tokens a second from the typical (p50) or a slow request's time per token. */
function pointsOf(run: Run, percentile: string): Point[] {
  const speed = new Map(run.speed.map((s) => [`${s.metric} ${s.variant} ${s.load}`, s]));
  const gpus = new Map(run.gpu_memory.map((g) => [g.variant, g.gpus ?? 1]));
  return run.loads.map((l) => {
    const row = speed.get(`output_throughput ${l.variant} ${l.load}`);
    const time = percentile === "p50" ? speed.get(`tpot ${l.variant} ${l.load}`)?.value
      : l.percentiles.find((p) => p.metric === "tpot" && p.percentile === percentile)?.value;
    const n = gpus.get(l.variant) ?? 1;
    return {
      variant: l.variant, load: l.load, x: inverse(time ?? { reason: `no TPOT at ${percentile}` }), y: over(row?.value ?? {}, n),
      blocks: l.blocks, requests: l.requests, failed: l.failed, gpus: n,
    };
  });
}

export function Throughput({ run }: { run: Run }) {
  const { get, set } = useAddress();
  const groups = ladders(run.loads.map((l) => l.load));
  if (!groups.length) return <Absent>Throughput: n/a ({whyMissing(run, "speed", "load")}).</Absent>;
  const percentile = ["p50", "p90", "p95", "p99"].find((p) => p === get("percentile")) ?? "p50";
  const log = get("scale") === "log";
  const points = pointsOf(run, percentile);
  const perGpu = run.gpu_memory.length > 0;
  return (
    <>
      <div className="controls">
        <Choice label="Percentile of the time per token" choices={["p50", "p90", "p95", "p99"].map((p) => [p, p])} now={percentile}
          choose={(key) => set("percentile", key === "p50" ? null : key)} />
        <Choice label="Scale" choices={[["linear", "linear"], ["log", "log"]]} now={log ? "log" : "linear"}
          choose={(key) => set("scale", key === "log" ? "log" : null)} />
        <Legend run={run} />
      </div>
      <p className="note">
        Each line goes through the loads of one variant. Up is more work done{perGpu ? " by one GPU" : ""}; right is a faster answer for each
        user, 1 / TPOT at {percentile}; a cross marks a load with failed requests. {perGpu ? "" : "How many GPUs there were is not in this run: throughput is the engine's."}
      </p>
      <div className="multiples large">
        {groups.map((group) => {
          const mine = points.filter((p) => group.loads.some((l) => l.name === p.load));
          return (
            <figure key={group.title + group.unit}>
              <figcaption>{group.title} <small>{group.unit}</small></figcaption>
              <Plane run={run} points={mine} log={log} title={`Throughput against speed per user, ${group.title}`} />
            </figure>
          );
        })}
      </div>
      <Behind title="The figures: throughput and speed per user"><Table caption={`Throughput and speed per user, ${percentile}`} rows={points} columns={[
        { title: "load", cell: (p) => p.load }, { title: "variant", cell: (p) => p.variant },
        { title: perGpu ? "per GPU" : "throughput", number: true, cell: (p) => <Fig figure={p.y} format={asMetric("output_throughput")} /> },
        { title: "per user", number: true, cell: (p) => <Fig figure={p.x} format={perSecond} /> },
        { title: "requests", number: true, cell: (p) => p.requests }, { title: "blocks", number: true, cell: (p) => p.blocks },
        { title: "failed", number: true, cell: (p) => p.failed },
      ]} /></Behind>
    </>
  );
}

function Plane({ run, points, log, title }: { run: Run; points: Point[]; log: boolean; title: string }) {
  const look = looks(run);
  const shown = points.filter((p) => p.x.value != null && p.y.value != null);
  if (!shown.length) return <Absent>n/a ({points.find((p) => p.x.reason)?.x.reason ?? "not measured"})</Absent>;
  const xs = shown.flatMap((p) => [p.x.value!, p.x.high ?? p.x.value!]);
  const ys = shown.flatMap((p) => [p.y.value!, p.y.high ?? p.y.value!]);
  const height = 320;
  return (
    <Chart title={title} height={height} most={580}>
      {(width) => {
        const [left, right, top, bottom] = [56, width - 16, 24, height - 44];
        const x = log ? scaleLog([Math.min(...xs) / 1.3, Math.max(...xs) * 1.3], [left, right]) : scaleLinear([0, Math.max(...xs) * 1.08], [left, right]);
        const y = log ? scaleLog([Math.min(...ys) / 1.3, Math.max(...ys) * 1.3], [bottom, top]) : scaleLinear([0, Math.max(...ys) * 1.08], [bottom, top]);
        const tick = (v: number) => v.toLocaleString("en-US", { maximumFractionDigits: 1 });
        const few = (ticks: number[]) => log ? ticks.filter((t) => /^[125]0*$/.test(String(t))) : ticks;
        return (
          <>
            <XAxis scale={x} ticks={few(x.ticks(5))} format={tick} y={bottom} top={top} from={left} to={right} label="tok/s for each user" />
            <YAxis scale={y} ticks={few(y.ticks(5))} format={tick} x={left} right={right} label="tok/s" />
            {run.variants.map(({ name }) => {
              const mine = shown.filter((p) => p.variant === name).toSorted((a, b) => (parseLoad(a.load).at ?? 0) - (parseLoad(b.load).at ?? 0));
              const own = look.get(name)!;
              return (
                <g key={name}>
                  <polyline points={mine.map((p) => `${x(p.x.value!)},${y(p.y.value!)}`).join(" ")} fill="none" stroke={own.colour} strokeWidth={1.8} strokeDasharray={own.dash} />
                  {mine.map((p) => {
                    const [px, py] = [x(p.x.value!), y(p.y.value!)];
                    const what = `${name}, ${loadText(parseLoad(p.load))}: ${figureText(p.y, asMetric("output_throughput"))}; per user `
                      + `${figureText(p.x, perSecond)}; ${p.requests} requests in ${p.blocks} blocks, ${p.failed} failed`;
                    return (
                      <g key={p.load}>
                        {hasInterval(p.y) && (!log || p.y.low > 0) ? <path className="whisker" stroke={own.colour} d={`M${px},${y(p.y.low)}V${y(p.y.high)}`} /> : null}
                        {hasInterval(p.x) && (!log || p.x.low > 0) ? <path className="whisker" stroke={own.colour} d={`M${x(p.x.low)},${py}H${x(p.x.high)}`} /> : null}
                        {p.failed > 0 ? <Cross look={own} x={px} y={py} title={what} /> : <Mark look={own} name={name} x={px} y={py} title={what} />}
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
