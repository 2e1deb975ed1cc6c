import { useMemo } from "react";
import { type Axis, LoadLines, type Point, type Series, pointText } from "@/charts/LoadLines";
import { CUT, isCut } from "@/charts/Whisker";
import { HALF, Legend } from "@/charts/marks";
import { useAddress, useHidden } from "@/data/address";
import { useFollowed } from "@/data/followed";
import { asMetric, asRatio, asTick, hasInterval, metric } from "@/data/format";
import { type Run, type Slo, broken, found, ladders, loadText, parseLoad, percentileAt, sloOf, whyMissing } from "@/data/run";
import { Fig, Word, needsBlocks } from "@/parts/figures";
import { Picked, Raw, type Told } from "@/parts/Records";
import { Absent, Behind, Table } from "@/parts/Table";
import { Choice } from "@/parts/Choice";

const SHOWN = ["ttft", "itl", "e2e"];
const THROUGHPUT = "output_throughput";
const DEGRADATION = "itl_ratio";

// The SLO's limit on tokens is one on every request's mean time per token.
const LIMITS: Record<string, keyof Slo> = { ttft: "ttft_ms", tpot: "itl_ms", e2e: "e2e_ms" };

const axisOf = (key: string): Axis =>
  ({ format: asMetric(key), tick: asTick(key), unit: metric(key).unit, scale: metric(key).scale });
const RATIO: Axis = { format: asRatio, tick: (v) => `${+v.toPrecision(3)}x`, unit: "ITL ratio", scale: 1 };

type Panel = { key: string; title: string; unit: string; span: string; series: Series[]; axis: Axis; limit?: number; limitText?: string };

function pointOf(run: Run, key: string, variant: string, load: string, limit: number | undefined, share: number): Point {
  const row = found(run).load(variant, load);
  const p95 = row?.percentiles.find((p) => p.metric === key && p.percentile === "p95")?.value;
  // The SLO binds a share of all requests, 95% unless it says otherwise: that percentile must be below the limit.
  const bound = limit === undefined ? undefined : percentileAt(run, key, `p${+(share * 100).toFixed(2)}`, variant, load);
  return {
    key: `${key} ${variant} ${load}`, load: parseLoad(load), p95,
    value: found(run).speed(key, variant, load)?.value ?? { value: null, reason: whyMissing(run, variant) },
    over: limit !== undefined && bound?.value != null && bound.value > limit, broken: broken(row), row,
  };
}

function panelsOf(run: Run, key: string, names: string[]): Panel[] {
  const slo = sloOf(run);
  const limitKey = LIMITS[key];
  const limit = limitKey && slo[limitKey] ? Number(slo[limitKey]) / metric(key).scale : undefined;
  const share = slo.share ?? 0.95;
  return ladders(run.loads.map((l) => l.load)).map((group) => ({
    key: group.title + group.unit, title: group.title, unit: group.unit, axis: axisOf(key), limit,
    span: (group.loads.length > 1 ? `${group.loads[0]!.at} to ` : "") + loadText(group.loads.at(-1)!),
    limitText: limit === undefined ? undefined : `SLO ${+(limit * metric(key).scale).toPrecision(6)} ${metric(key).unit} for ${+(share * 100).toFixed(2)}%`,
    series: names.map((variant) => ({ variant, points: group.loads.map((l) => pointOf(run, key, variant, l.name, limit, share)) })),
  }));
}

/** ITL at each load over ITL at the workload's lowest, where it is 1x by definition. */
function degradationPanels(run: Run, names: string[]): Panel[] {
  const rows = new Map(run.degradation.map((d) => [`${d.variant} ${d.load}`, d]));
  return ladders(run.degradation.map((d) => d.load)).map((group) => ({
    key: group.title + group.unit, title: group.title, unit: group.unit, axis: RATIO,
    span: `against ${loadText(parseLoad(run.degradation.find((d) => d.load === group.loads[0]!.name)!.lowest))}`,
    series: names.map((variant) => ({ variant, points: group.loads.map((load): Point => {
      const row = rows.get(`${variant} ${load.name}`);
      const at = found(run).load(variant, load.name);
      return { key: `${DEGRADATION} ${variant} ${load.name}`, load, value: row?.ratio ?? { reason: "not measured" }, over: false,
        broken: broken(at), row: at, blocks: row?.blocks ?? 0 };
    }) })),
  }));
}

export function Latency({ run }: { run: Run }) {
  const { get, set } = useAddress();
  const [hidden, toggle] = useHidden();
  const slo = sloOf(run);
  const log = get("scale") === "log";
  const shown = run.variants.map((v) => v.name).filter((name) => !hidden.has(name)).join("\n");
  // The controls answer at once; the charts follow as soon as they are drawn.
  const drawn = useFollowed(useMemo(() => ({ log, shown }), [log, shown]));
  const sections = useMemo(() => {
    const names = drawn.shown ? drawn.shown.split("\n") : [];
    const keys = [...(sloOf(run).itl_ms ? [...SHOWN.slice(0, 2), "tpot", "e2e"] : SHOWN), THROUGHPUT];
    return { metrics: keys.map((key) => [key, panelsOf(run, key, names)] as const), degradation: degradationPanels(run, names) };
  }, [run, drawn.shown]);
  const [refused, crossed, bare] = useMemo(() => [
    run.loads.some((l) => l.percentiles.some((p) => p.percentile === "p95" && p.value.value == null)), run.loads.some(broken),
    run.speed.some((s) => s.value.value != null && !hasInterval(s.value))], [run]);
  const cut = useMemo(() => [...sections.metrics.map(([, panels]) => panels), sections.degradation].flat().some(({ series }) =>
    isCut(series.flatMap((s) => s.points.map((p) => p.value)), series.flatMap((s) => s.points.map((p) => p.p95?.value)))), [sections]);
  if (!run.loads.length) return <Absent>Speed under load: n/a ({whyMissing(run, "speed", "load")}).</Absent>;
  const tell = (key: string): Told | null => {
    for (const [label, panels] of [...sections.metrics.map(([k, panels]) => [metric(k).label, panels] as const), ["ITL ratio", sections.degradation] as const]) {
      for (const { series, axis } of panels) {
        for (const { variant, points } of series) {
          const p = points.find((point) => point.key === key);
          if (p) return { key, text: `${label}: ${pointText(variant, p, axis.format)}`, cells: found(run).load(variant, p.load.name)?.cells ?? [] };
        }
      }
    }
    return null;
  };
  return (
    <>
      <div className="controls">
        <Choice label="Scale" choices={[["linear", "linear"], ["log", "log"]]} now={log ? "log" : "linear"}
          choose={(key) => set("scale", key === "log" ? "log" : null)} />
        <Legend run={run} hidden={hidden} toggle={toggle} />
      </div>
      <p className="note">
        Latencies: the line is p50, bars are its 95% interval over blocks, the band reaches up to p95. A cross marks a load with failed
        requests, or an open loop that is saturated: its latencies grew until its end (told of windows of 50 requests or more).
        {crossed ? "" : " This run has none."}
        {Object.keys(slo).length ? ` A ring marks the first load at which the SLO (dashed) is missed: there the p${+((slo.share ?? 0.95) * 100).toFixed(2)} is above it.`
          : " No SLO was asked for."}
        {bare ? ` ${HALF}` : ""}{cut ? ` ${CUT}` : ""}
        {refused ? " Where there is no band, the requests are too few for a p95: it is refused, not guessed." : ""}
      </p>
      <Picked tell={tell} />
      {sections.metrics.map(([key, panels]) => (
        <section key={key}>
          <h3>{metric(key).label}, {metric(key).unit}</h3>
          <p className="note">{metric(key).definition}; {metric(key).better} is better.</p>
          <Panels run={run} panels={panels} log={drawn.log} label={metric(key).label} />
          <Behind title={`The figures: ${metric(key).label}`}><Figures run={run} metricKey={key} /></Behind>
        </section>
      ))}
      {run.degradation.length ? (
        <section>
          <h3>How much tokens slow down with load</h3>
          <p className="note">ITL at a load over ITL at the workload&apos;s lowest load, paired by block, with 95% intervals. 1x would be no slowing.</p>
          <Panels run={run} panels={sections.degradation} log={drawn.log} label="ITL ratio" rule={1} />
          <Behind title="The figures: ITL degradation"><Table caption="ITL degradation" rows={run.degradation} columns={[
            { title: "load", cell: (d) => d.load }, { title: "against", cell: (d) => d.lowest },
            { title: "variant", cell: (d) => d.variant },
            { title: "ITL ratio", number: true, cell: (d) => <Fig figure={d.ratio} format={asRatio} /> },
            { title: "blocks", number: true, cell: (d) => d.blocks },
            { title: "raw", cell: (d) => <Raw cells={[d.load, d.lowest].flatMap((load) => found(run).load(d.variant, load)?.cells ?? [])} /> },
          ]} /></Behind>
        </section>
      ) : null}
    </>
  );
}

function Panels({ run, panels, log, label, rule }: { run: Run; panels: Panel[]; log: boolean; label: string; rule?: number }) {
  return (
    <div className="multiples">
      {panels.map((panel) => (
        <figure key={panel.key}>
          <figcaption>{panel.title} <small>{panel.span}</small></figcaption>
          <LoadLines run={run} series={panel.series} axis={panel.axis} unit={panel.unit} log={log} limit={panel.limit}
            limitText={panel.limitText} rule={rule} title={`${label} of ${panel.title} against load`} />
        </figure>
      ))}
    </div>
  );
}

function Figures({ run, metricKey }: { run: Run; metricKey: string }) {
  const rows = run.speed.filter((s) => s.metric === metricKey);
  const load = (row: (typeof rows)[number]) => found(run).load(row.variant, row.load);
  const format = asMetric(metricKey);
  return (
    <Table caption={`${metric(metricKey).label} by load`} rows={rows} columns={[
      { title: "load", cell: (s) => s.load },
      { title: "variant", cell: (s) => s.variant },
      { title: metricKey === THROUGHPUT ? "value" : "p50", number: true, cell: (s) => <Fig figure={s.value} format={format} /> },
      ...(metricKey === THROUGHPUT ? [] : ["p90", "p95", "p99"].map((name) => ({
        title: name, number: true, cell: (s: (typeof rows)[number]) => <Fig figure={percentileAt(run, metricKey, name, s.variant, s.load)} format={format} />,
      }))),
      { title: "ratio", number: true, cell: (s) => <Fig figure={s.ratio} format={asRatio} /> },
      { title: "verdict", cell: (s) => s.ratio.reason === "is the baseline" ? null : <Word word={s.word} reason={s.reason} more={s.word === "inconclusive" ? needsBlocks(s) : null} /> },
      { title: "blocks", number: true, cell: (s) => s.blocks },
      { title: "requests", number: true, cell: (s) => load(s)?.requests ?? "n/a" },
      { title: "failed", number: true, cell: (s) => load(s)?.failed ?? "n/a" },
      { title: "raw", cell: (s) => <Raw cells={load(s)?.cells} /> },
    ]} />
  );
}
