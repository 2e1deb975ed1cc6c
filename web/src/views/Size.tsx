import { scaleLinear } from "d3-scale";
import { changeScale, isWide, thin } from "@/charts/change";
import { Chart, XAxis, YAxis } from "@/charts/frame";
import { HALF, Legend, Mark, looks } from "@/charts/marks";
import { useAddress } from "@/data/address";
import { type Format, asBytes, asCount, asFineRatio, asMetric, asPoints, asRatio, figureText, hasInterval, metric, trimmed } from "@/data/format";
import { type Figure, type Run, whyMissing } from "@/data/run";
import { Fig, Missing } from "@/parts/figures";
import { Picked, Raw, among } from "@/parts/Records";
import { Absent, Table } from "@/parts/Table";
import { Choice } from "@/parts/Choice";

type Point = { variant: string; cells: string[]; x: Figure; y: Figure; n: string; on: boolean | null; by: string[]; reason?: string | null };
type Axis = { key: string; title: string; format: Format; better: "higher" | "lower"; zero: number; step: number; points: Point[] };

/** What can stand against size: the frontier's own measure first, then the divergence from the baseline. */
function axes(run: Run): Axis[] {
  const place = new Map(run.frontiers.filter((f) => f.frontier === "quality against size").map((f) => [f.variant, f]));
  const corpus = (v: Run["variants"][number]) => {
    const row = run.corpora.find((c) => c.variant === v.name && c.kl_divergence.value === v.kl_divergence.value);
    return row ? `${asCount(row.tokens)} tokens of ${row.corpus}` : "";
  };
  const of = (key: string, title: string, better: "higher" | "lower", zero: number, step: number, format: Format, y: (v: Run["variants"][number]) => Figure,
    n: (v: Run["variants"][number]) => string, ranked: boolean, cells: (v: Run["variants"][number]) => string[]): Axis => ({
    key, title, format, better, zero, step,
    points: run.variants.map((v) => {
      const f = ranked ? place.get(v.name) : undefined;
      return { variant: v.name, cells: cells(v), x: v.size.bytes, y: f?.y ?? y(v), n: n(v), on: f?.on ?? null, by: f?.dominated_by ?? [], reason: f?.reason };
    }),
  });
  const ofTasks = (v: Run["variants"][number]) => run.quality.filter((q) => q.variant === v.name).flatMap((q) => q.cells ?? []);
  const ofCorpora = (v: Run["variants"][number]) => run.corpora.filter((c) => c.variant === v.name).flatMap((c) => c.cells ?? []);
  const { margin } = run.settings as { margin?: { accuracy_pp?: number; perplexity_ratio?: number } };
  const tasks = run.quality.length > 0;
  const all = [
    of("accuracy", "Change of accuracy", "higher", 0, (margin?.accuracy_pp ?? 1) / 100, asPoints,
      (v) => v.baseline ? { value: 0 } : v.quality.delta, (v) => v.baseline ? "" : `${asCount(v.quality.n)} items`, tasks, ofTasks),
    of("perplexity", "Perplexity ratio", "lower", 1, margin?.perplexity_ratio ?? 0.01, asFineRatio,
      (v) => v.baseline ? { value: 1 } : v.perplexity_ratio, corpus, !tasks, ofCorpora),
    of("kl", metric("kl_divergence").label, "lower", 0, 0.001, asMetric("kl_divergence"), (v) => v.baseline ? { value: 0 } : v.kl_divergence, corpus, false, ofCorpora),
  ];
  return all.filter((a) => a.points.some((p) => p.y.value != null && !run.variants.find((v) => v.name === p.variant)!.baseline));
}

export function Size({ run }: { run: Run }) {
  const { get, set } = useAddress();
  const found = axes(run);
  const axis = found.find((a) => a.key === get("quality")) ?? found[0];
  if (!axis) {
    return (
      <>
        <Absent>Quality against size: n/a ({whyMissing(run, "quality")}).</Absent>
        <Table caption="The sizes alone" rows={run.variants} columns={[
          { title: "variant", cell: (v) => v.name }, { title: "size", number: true, cell: (v) => <Fig figure={v.size.bytes} format={asBytes} /> },
          { title: "ratio", number: true, cell: (v) => v.baseline ? <Missing reason="is the baseline" /> : <Fig figure={v.size.ratio} format={asRatio} /> },
          { title: metric("bits_per_weight").label.toLowerCase(), number: true, cell: (v) => <Fig figure={v.size.bits_per_weight} format={(x) => asMetric("bits_per_weight")(x, false)} /> },
        ]} />
      </>
    );
  }
  const log = (get("changes") ?? (isWide(known(axis.points), axis.zero, axis.step) ? "log" : "linear")) === "log";
  const ranked = axis.points.some((p) => p.on !== null);
  return (
    <>
      <div className="controls">
        <Choice label="Quality" choices={found.map((a) => [a.key, a.title])} now={axis.key} choose={(key) => set("quality", key)} />
        <Choice label="Scale" choices={[["linear", "linear"], ["log", "log"]]} now={log ? "log" : "linear"} choose={(key) => set("changes", key)} />
        <Legend run={run} />
      </div>
      <Scatter run={run} axis={axis} log={log} />
      <p className="note">
        {ranked
          ? "Filled: on the frontier. Hollow: dominated; another variant is shown to be better on one axis, and not shown to be worse on the other. A difference that the intervals do not support pushes nothing out."
          : `No frontier is judged on these axes, only on those of ${found[0]!.title.toLowerCase()}.`}
        {` Bars are 95% intervals.${log ? ` The axis is linear up to ${trimmed(axis.format(axis.zero + axis.step))} and logarithmic beyond.` : ""}${axis.points.some(isBare) ? ` ${HALF}` : ""}`}
      </p>
      <Picked tell={among(axis.points, (p) => p.variant, (p) => ({ text: textOf(p, axis), cells: p.cells }))} />
      <Table caption={`${axis.title} against size`} rows={axis.points} columns={[
        { title: "variant", cell: (p) => p.variant },
        { title: "size", number: true, cell: (p) => <Fig figure={p.x} format={asBytes} /> },
        { title: axis.title.toLowerCase(), number: true, cell: (p) => <Fig figure={p.y} format={axis.format} /> },
        { title: "n", cell: (p) => p.n || <Missing reason="is the baseline" /> },
        ...(ranked ? [{ title: "frontier", cell: (p: Point) => p.on === null ? <Missing reason={p.reason} />
          : p.on ? "on it" : `dominated by ${p.by.join(", ")}` }] : []),
        { title: "raw", cell: (p) => p.cells.length ? <Raw cells={p.cells} /> : null },
      ]} />
    </>
  );
}

const isBare = (p: Point) => p.on === null && p.n !== "" && p.y.value != null && !hasInterval(p.y);

const textOf = (p: Point, axis: Axis) => `${p.variant}: ${figureText(p.x, asBytes)}; ${axis.title.toLowerCase()} ${figureText(p.y, axis.format)}`
  + (p.n ? `; ${p.n}` : "") + (p.on === false ? `; dominated by ${p.by.join(", ")}` : "");

type Spot = { name: string; x: number; y: number; low: number; high: number };

/** A place for each point's name: above to the right, else to the left, else farther up; clear of marks and of other names. */
function placed(spots: Spot[], left: number, right: number): (Spot & { end: boolean })[] {
  const taken: [number, number, number, number][] = spots.map((s) => [s.x - 7, s.x + 7, Math.min(s.y - 7, s.high), Math.max(s.y + 7, s.low)]);
  const free = ([a, b, c, d]: [number, number, number, number]) =>
    a >= left && b <= right + 20 && taken.every(([e, f, g, h]) => b < e || a > f || d < g || c > h);
  return spots.map((s) => {
    const long = 8 * s.name.length;
    const tried = [-9, 19, -24, 34, -39].flatMap((dy) => [false, true].map((end) => ({ dy, end })));
    const box = ({ dy, end }: { dy: number; end: boolean }): [number, number, number, number] =>
      [end ? s.x - 10 - long : s.x + 10, end ? s.x - 10 : s.x + 10 + long, s.y + dy - 10, s.y + dy + 3];
    const found = tried.find((t) => free(box(t))) ?? { dy: -9, end: s.x > right - 90 };
    taken.push(box(found));
    return { ...s, x: s.x + (found.end ? -10 : 10), y: s.y + found.dy, end: found.end };
  });
}

const known = (points: Point[]): number[] =>
  points.filter((p) => p.x.value != null).flatMap((p) => [p.y.value, p.y.low, p.y.high]).filter((v): v is number => v != null);

function Scatter({ run, axis, log }: { run: Run; axis: Axis; log: boolean }) {
  const look = looks(run);
  const shown = axis.points.filter((p) => p.x.value != null && p.y.value != null);
  const xs = shown.map((p) => p.x.value!);
  const height = 440;
  const title = `${axis.title} against size`;
  return (
    <Chart title={title} height={height}>
      {(width) => {
        const [left, right, top, bottom] = [64, width - 28, 30, height - 46];
        const x = scaleLinear([0, Math.max(...xs) * 1.08], [left, right]);
        const y = changeScale(known(shown), axis.zero, axis.step, log, [bottom - 12, top + 12], 6);
        // The unit of the largest size, so that all ticks are in one.
        const unit = asBytes(Math.max(...xs)).split(" ")[1]!;
        const scale = { GB: 1e9, MB: 1e6, kB: 1e3, B: 1 }[unit] ?? 1;
        const front = shown.filter((p) => p.on).toSorted((a, b) => a.x.value! - b.x.value!);
        return (
          <>
            <XAxis scale={x} ticks={x.ticks(Math.max(3, width / 130))} format={(v) => `${+(v / scale).toPrecision(4)}`} y={bottom} top={top}
              from={left} to={right} label={`size of the weights, ${unit} (smaller is better)`} />
            <YAxis scale={y} ticks={thin(y.ticks, y, 18)} format={(v) => trimmed(axis.format(v, false))} x={left} right={right}
              label={`${axis.title}${axis.key === "accuracy" ? ", pp" : axis.key === "kl" ? ", nats" : ""} (${axis.better} is better)`} />
            {front.length > 1 ? (
              <polyline className="frontier" points={front.map((p) => `${x(p.x.value!)},${y(p.y.value!)}`).join(" ")} />
            ) : null}
            {placed(shown.map((p) => ({
              name: p.variant, x: x(p.x.value!), y: y(p.y.value!), low: y(p.y.low ?? p.y.value!), high: y(p.y.high ?? p.y.value!) })), left, right).map((label) => (
              <text key={label.name} className="strong" x={label.x} y={label.y} textAnchor={label.end ? "end" : "start"}>{label.name}</text>
            ))}
            {shown.map((p) => {
              const [px, py, mine] = [x(p.x.value!), y(p.y.value!), look.get(p.variant)!];
              return (
                <g key={p.variant}>
                  {hasInterval(p.y) ? (
                    <path className="whisker" stroke={mine.colour}
                      d={`M${px},${y(p.y.low)}V${y(p.y.high)}M${px - 4},${y(p.y.low)}h8M${px - 4},${y(p.y.high)}h8`} />
                  ) : null}
                  <Mark look={mine} name={p.variant} x={px} y={py} hollow={p.on === false} half={isBare(p)}
                    title={textOf(p, axis)} point={p.variant} />
                </g>
              );
            })}
          </>
        );
      }}
    </Chart>
  );
}
