import { scaleLinear, scaleLog } from "d3-scale";
import { Fragment, memo, useMemo } from "react";
import { type Box, Names } from "@/charts/Names";
import { Chart, XAxis, YAxis } from "@/charts/frame";
import { CUT, Whiskers, axisBegin, axisEnd, isCut, whisker } from "@/charts/Whisker";
import { Cross, HALF, Legend, Mark, looks } from "@/charts/marks";
import { useAddress, useHidden } from "@/data/address";
import { useFollowed } from "@/data/followed";
import { type Format, asMetric, figureText, grouped, hasInterval } from "@/data/format";
import { dominated, staircase } from "@/data/frontier";
import { type Figure, type Run, broken, found, gpusOf, ladders, loadText, parseLoad, percentileAt, requestsText, shortLoad, whyMissing } from "@/data/run";
import { Choice } from "@/parts/Choice";
import { Fig, Missing } from "@/parts/figures";
import { Picked, Raw, among } from "@/parts/Records";
import { Absent, Behind, Table } from "@/parts/Table";

type Point = {
  key: string; variant: string; load: string; x: Figure; y: Figure; row: Run["loads"][number]; gpus: number;
  /** null: broken, a figure is missing, or the throughput has no interval to judge it by. */
  dominated: boolean | null;
};

const PERCENTILES = ["p50", "p90", "p95", "p99"];
const perSecond: Format = (value, unit = true) => grouped(value, value < 100 ? 1 : 0) + (unit ? " tok/s" : "");

/** 1 / time: the interval's ends change places. */
const inverse = (f: Figure): Figure => f.value == null ? f
  : { value: 1 / f.value, low: f.high == null ? null : 1 / f.high, high: f.low == null ? null : 1 / f.low, reason: f.reason };
const over = (f: Figure, by: number): Figure => f.value == null ? f
  : { value: f.value / by, low: f.low == null ? null : f.low / by, high: f.high == null ? null : f.high / by, reason: f.reason };

const drawable = (p: Point) => p.x.value != null && p.y.value != null;
const sound = (p: Point) => drawable(p) && !broken(p.row);

/** What users feel at each load: their tokens a second from the typical (p50) or a slow request's time per token. */
function pointsOf(run: Run, percentile: string, hidden: Set<string>): Point[] {
  const points: Point[] = run.loads.filter((l) => !hidden.has(l.variant)).map((row) => {
    const { variant, load } = row;
    const gpus = gpusOf(run, variant);
    return {
      key: `${variant} ${load}`, variant, load, row, gpus, dominated: null,
      x: inverse(percentileAt(run, "tpot", percentile, variant, load)),
      y: over(found(run).speed("output_throughput", variant, load)?.value ?? { reason: "not measured" }, gpus),
    };
  });
  // Loads of one workload are held against each other, closed and open loops together: they serve the same users.
  for (const workload of new Set(points.map((p) => parseLoad(p.load).workload))) {
    const mine = points.filter((p) => parseLoad(p.load).workload === workload && sound(p) && hasInterval(p.y));
    dominated(mine).forEach((is, i) => { mine[i]!.dominated = is; });
  }
  return points;
}

const what = (p: Point, percentile: string) => `${p.variant}, ${p.load} (${loadText(parseLoad(p.load))}): ${figureText(p.y, asMetric("output_throughput"))}`
  + `${p.gpus > 1 ? " per GPU" : ""}; per user, ${percentile}, ${figureText(p.x, perSecond)}; ${requestsText(p.row)}${p.dominated ? "; beaten" : ""}`;

export function Throughput({ run }: { run: Run }) {
  const { get, set } = useAddress();
  const [hidden, toggle] = useHidden();
  const percentile = PERCENTILES.find((p) => p === get("percentile")) ?? "p50";
  const log = get("scale") === "log";
  const names = [...hidden].join("\n");
  // The controls answer at once; the charts follow as soon as they are drawn.
  const drawn = useFollowed(useMemo(() => ({ percentile, log, names }), [percentile, log, names]));
  const points = useMemo(() => pointsOf(run, drawn.percentile, new Set(drawn.names.split("\n"))), [run, drawn.percentile, drawn.names]);
  const groups = useMemo(() => {
    const workloads = new Map<string, Point[]>();
    for (const p of points) {
      const { workload } = parseLoad(p.load);
      workloads.set(workload, [...(workloads.get(workload) ?? []), p]);
    }
    return [...workloads];
  }, [points]);
  const cut = useMemo(() => groups.some(([, mine]) => isCut(mine.filter(drawable).map((p) => p.x)) || isCut(mine.filter(drawable).map((p) => p.y))), [groups]);
  if (!run.loads.length) return <Absent>Throughput: n/a ({whyMissing(run, "speed", "load")}).</Absent>;
  const perGpu = run.gpu_memory.length > 0;
  const bare = points.some((p) => sound(p) && !hasInterval(p.y));
  const refused = points.filter((p) => p.x.value == null && p.x.reason);
  const tell = among(points, (p) => p.key, (p) => ({ text: what(p, percentile), cells: p.row.cells ?? [] }));
  return (
    <>
      <div className="controls">
        <Choice label="Percentile of the time per token" choices={PERCENTILES.map((p) => [p, p])} now={percentile}
          choose={(key) => set("percentile", key === "p50" ? null : key)} />
        <Choice label="Scale" choices={[["linear", "linear"], ["log", "log"]]} now={log ? "log" : "linear"}
          choose={(key) => set("scale", key === "log" ? "log" : null)} />
        <Legend run={run} hidden={hidden} toggle={toggle} />
      </div>
      <p className="note">
        Each line goes through the loads of one variant; small figures are the streams that were open at once{points.some((p) => parseLoad(p.load).kind === "r") ? ", or the requests/s" : ""}. Up is more work done by {perGpu ? "one GPU" : "the machine"};
        right is a faster answer for each user, 1 / TPOT at {percentile}. {perGpu ? "" : "No GPU told of itself in this run, so throughput is the whole machine's. "}
        The pale band is the frontier, through the points that no other equals or beats on both axes. Hollow: another does, and on one
        axis {percentile === "p50" ? "their intervals are apart" : `beyond an interval (at ${percentile} the speed per user has none, so its values decide)`}.
        A cross has failed requests or is saturated, and is held against nothing.{bare ? ` ${HALF} It is neither judged nor held against others.` : ""}{cut ? ` ${CUT}` : ""}
      </p>
      {refused.length ? <p className="note">{refused.length} of {points.length} points are n/a: {refused[0]!.x.reason}.</p> : null}
      <div className="multiples large">
        {groups.map(([workload, mine]) => (
          <figure key={workload}>
            <figcaption>{workload}</figcaption>
            <Plane run={run} points={mine} log={drawn.log} percentile={drawn.percentile} perGpu={perGpu} title={`Throughput against speed per user, ${workload}`} />
          </figure>
        ))}
      </div>
      <Picked tell={tell} />
      <Behind title="The figures: throughput and speed per user"><Table caption={`Throughput and speed per user, ${percentile}`} rows={points} columns={[
        { title: "load", cell: (p) => p.load }, { title: "variant", cell: (p) => p.variant },
        { title: perGpu ? "per GPU" : "throughput", number: true, cell: (p) => <Fig figure={p.y} format={asMetric("output_throughput")} /> },
        { title: "per user", number: true, cell: (p) => <Fig figure={p.x} format={perSecond} /> },
        { title: "frontier", cell: (p) => p.dominated !== null ? (p.dominated ? "beaten" : "not beaten") : <Missing reason={broken(p.row) ? "failed requests, or saturated" : p.y.reason ?? p.x.reason} /> },
        { title: "requests", number: true, cell: (p) => p.row.requests }, { title: "blocks", number: true, cell: (p) => p.row.blocks },
        { title: "failed", number: true, cell: (p) => p.row.failed }, { title: "raw", cell: (p) => <Raw cells={p.row.cells} /> },
      ]} /></Behind>
    </>
  );
}

const HEIGHT = 320;

const Plane = memo(function Plane({ run, points, log, title, percentile, perGpu }: {
  run: Run; points: Point[]; log: boolean; title: string; percentile: string; perGpu: boolean;
}) {
  const look = looks(run);
  const shown = points.filter(drawable);
  if (!shown.length) return <Absent>n/a ({points.find((p) => p.x.reason)?.x.reason ?? "not measured"})</Absent>;
  const [xs, ys] = [shown.map((p) => p.x), shown.map((p) => p.y)];
  const front = staircase(shown.filter(sound));
  return (
    <Chart title={title} height={HEIGHT} most={580}>
      {(width) => {
        const [left, right, top, bottom] = [56, width - 16, 24, HEIGHT - 44];
        const x = log ? scaleLog([axisBegin(xs) / 1.3, axisEnd(xs) * 1.3], [left, right]) : scaleLinear([0, axisEnd(xs) * 1.08], [left, right]);
        const y = log ? scaleLog([axisBegin(ys) / 1.3, axisEnd(ys) * 1.3], [bottom, top]) : scaleLinear([0, axisEnd(ys) * 1.08], [bottom, top]);
        const tick = (v: number) => grouped(v, 1, 0);
        const few = (ticks: number[]) => log ? ticks.filter((t) => /^[125]0*$/.test(String(t))) : ticks;
        return (
          <>
            <XAxis scale={x} ticks={few(x.ticks(5))} format={tick} y={bottom} top={top} from={left} to={right} label="tok/s for each user" />
            <YAxis scale={y} ticks={few(y.ticks(5))} format={tick} x={left} right={right} label={perGpu ? "tok/s per GPU" : "tok/s of the machine"} />
            {front.length ? <polyline className="frontier" points={[...front, front.at(-1)!].map((p) => `${x(p.x.value!)},${y(p.y.value!)}`).join(" ")} /> : null}
            {run.variants.map(({ name }) => {
              const mine = shown.filter((p) => p.variant === name);
              const own = look.get(name)!;
              return (
                <g key={name}>
                  {ladders(mine.map((p) => p.load)).map(({ unit, loads }) => (
                    <polyline key={unit} points={loads.map((l) => mine.find((p) => p.load === l.name)!).map((p) => `${x(p.x.value!)},${y(p.y.value!)}`).join(" ")}
                      fill="none" stroke={own.colour} strokeWidth={1.6} strokeDasharray={own.dash} />
                  ))}
                  <Whiskers colour={own.colour} d={mine.map((p) => whisker(p.y, x(p.x.value!), { scale: y, range: [bottom, top], upright: true })
                    + whisker(p.x, y(p.y.value!), { scale: x, range: [left, right] })).join("")} />
                  {mine.map((p) => {
                    const [px, py] = [x(p.x.value!), y(p.y.value!)];
                    return (
                      <Fragment key={p.load}>
                        {broken(p.row) ? <Cross look={own} x={px} y={py} title={what(p, percentile)} point={p.key} />
                          : <Mark look={own} name={name} x={px} y={py} title={what(p, percentile)} hollow={p.dominated === true} half={!hasInterval(p.y)} point={p.key} />}
                      </Fragment>
                    );
                  })}
                </g>
              );
            })}
            <Names spots={shown.map((p) => ({ key: p.key, text: shortLoad(parseLoad(p.load)), x: x(p.x.value!), y: y(p.y.value!) }))}
              busy={shown.flatMap((p): Box[] => {
                const [px, py] = [x(p.x.value!), y(p.y.value!)];
                return [...(hasInterval(p.x) ? [[x(p.x.low), x(p.x.high), py - 1, py + 1] as Box] : []),
                  ...(hasInterval(p.y) ? [[px - 1, px + 1, y(p.y.high), y(p.y.low)] as Box] : [])];
              })} />
          </>
        );
      }}
    </Chart>
  );
});
