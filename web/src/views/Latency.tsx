import { LoadLines, type Point, type Series } from "@/charts/LoadLines";
import { Legend } from "@/charts/marks";
import { useAddress } from "@/data/address";
import { asMetric, asRatio, metric } from "@/data/format";
import { type Run, type Slo, ladders, loadText, parseLoad, sloOf, whyMissing } from "@/data/run";
import { Fig, Word } from "@/parts/figures";
import { Absent, Behind, Table } from "@/parts/Table";
import { Choice } from "@/parts/Choice";

const SHOWN = ["ttft", "itl", "e2e"];
const THROUGHPUT = "output_throughput";

// The SLO's limit on tokens is one on every request's mean time per token.
const LIMITS: Record<string, keyof Slo> = { ttft: "ttft_ms", tpot: "itl_ms", e2e: "e2e_ms" };

function pointsOf(run: Run, key: string, limit: number | undefined, share: number): (variant: string, load: string) => Point {
  const loads = new Map(run.loads.map((l) => [`${l.variant} ${l.load}`, l]));
  const values = new Map(run.speed.filter((s) => s.metric === key).map((s) => [`${s.variant} ${s.load}`, s]));
  return (variant, load) => {
    const row = loads.get(`${variant} ${load}`);
    const value = values.get(`${variant} ${load}`);
    const p95 = row?.percentiles.find((p) => p.metric === key && p.percentile === "p95")?.value;
    // The SLO binds a share of all requests, 95% unless it says otherwise: that percentile must be below the limit.
    const bound = row?.percentiles.find((p) => p.metric === key && p.percentile === `p${+(share * 100).toFixed(2)}`)?.value;
    const over = limit !== undefined && bound?.value != null && bound.value > limit;
    return {
      load: parseLoad(load), value: value?.value ?? { value: null, reason: whyMissing(run, variant) }, p95, over,
      blocks: row?.blocks ?? 0, requests: row?.requests ?? 0, failed: row?.failed ?? 0,
    };
  };
}

export function Latency({ run }: { run: Run }) {
  const { get, set } = useAddress();
  const hidden = new Set((get("hide") ?? "").split(",").filter(Boolean).map(decodeURIComponent));
  const toggle = (name: string) => {
    const next = new Set(hidden);
    if (!next.delete(name)) next.add(name);
    set("hide", [...next].map(encodeURIComponent).join(","));
  };
  const groups = ladders(run.loads.map((l) => l.load));
  if (!groups.length) return <Absent>Speed under load: n/a ({whyMissing(run, "speed", "load")}).</Absent>;
  const slo = sloOf(run);
  const keys = slo.itl_ms ? [...SHOWN.slice(0, 2), "tpot", "e2e"] : SHOWN;
  const log = get("scale") === "log";
  const names = run.variants.map((v) => v.name).filter((name) => !hidden.has(name));
  const chart = (key: string, group: (typeof groups)[number]) => {
    const limitKey = LIMITS[key];
    const limit = limitKey && slo[limitKey] ? Number(slo[limitKey]) / metric(key).scale : undefined;
    const of = pointsOf(run, key, limit, slo.share ?? 0.95);
    const series: Series[] = names.map((variant) => ({ variant, points: group.loads.map((l) => of(variant, l.name)) }));
    return <LoadLines run={run} metricKey={key} series={series} unit={group.unit} log={log} limit={limit}
      title={`${metric(key).label} of ${group.title} against load`} />;
  };
  const section = (key: string) => (
    <section key={key}>
      <h3>{metric(key).label}, {metric(key).unit}</h3>
      <p className="note">{metric(key).definition}; {metric(key).better} is better.</p>
      <div className="multiples">
        {groups.map((group) => (
          <figure key={group.title + group.unit}>
            <figcaption>{group.title} <small>{loadText(group.loads[0]!)}{group.loads.length > 1 ? ` to ${loadText(group.loads.at(-1)!)}` : ""}</small></figcaption>
            {chart(key, group)}
          </figure>
        ))}
      </div>
      <Behind title={`The figures: ${metric(key).label}`}><Figures run={run} metricKey={key} /></Behind>
    </section>
  );
  const refused = run.loads.some((l) => l.percentiles.some((p) => p.percentile === "p95" && p.value.value == null));
  return (
    <>
      <div className="controls">
        <Legend run={run} hidden={hidden} toggle={toggle} />
        <Choice label="Scale" choices={[["linear", "linear"], ["log", "log"]]} now={log ? "log" : "linear"}
          choose={(key) => set("scale", key === "log" ? "log" : null)} />
      </div>
      <p className="note">
        Latencies: the line is p50, bars are its 95% interval over blocks, the band reaches up to p95. A cross marks a load with
        failed requests{Object.keys(slo).length ? "; a ring the first load at which the SLO (the dashed rule) is missed" : ""}.
        {refused ? " Where there is no band, the requests are too few for a p95: it is refused, not guessed." : ""}
      </p>
      {section(THROUGHPUT)}
      {keys.map(section)}
      {run.degradation.length ? (
        <>
          <h3>How much tokens slow down with load</h3>
          <p className="note">ITL at this load over ITL at the workload's lowest load, paired by block. 1x would be no slowing.</p>
          <Behind title="The figures: ITL degradation"><Table caption="ITL degradation" rows={run.degradation} columns={[
            { title: "load", cell: (d) => d.load }, { title: "against", cell: (d) => d.lowest },
            { title: "variant", cell: (d) => d.variant },
            { title: "ITL ratio", number: true, cell: (d) => <Fig figure={d.ratio} format={asRatio} /> },
            { title: "blocks", number: true, cell: (d) => d.blocks },
          ]} /></Behind>
        </>
      ) : null}
    </>
  );
}

function Figures({ run, metricKey }: { run: Run; metricKey: string }) {
  const rows = run.speed.filter((s) => s.metric === metricKey);
  const loads = new Map(run.loads.map((l) => [`${l.variant} ${l.load}`, l]));
  const load = (row: (typeof rows)[number]) => loads.get(`${row.variant} ${row.load}`);
  const format = asMetric(metricKey);
  return (
    <Table caption={`${metric(metricKey).label} by load`} rows={rows} columns={[
      { title: "load", cell: (s) => s.load },
      { title: "variant", cell: (s) => s.variant },
      { title: metricKey === THROUGHPUT ? "value" : "p50", number: true, cell: (s) => <Fig figure={s.value} format={format} /> },
      ...(metricKey === THROUGHPUT ? [] : ["p90", "p95", "p99"].map((name) => ({
        title: name, number: true, cell: (s: (typeof rows)[number]) =>
          <Fig figure={load(s)?.percentiles.find((p) => p.metric === metricKey && p.percentile === name)?.value ?? {}} format={format} />,
      }))),
      { title: "ratio", number: true, cell: (s) => <Fig figure={s.ratio} format={asRatio} /> },
      { title: "verdict", cell: (s) => s.ratio.reason === "is the baseline" ? null : <Word word={s.word} reason={s.reason} more={s.more_blocks ? `~${s.more_blocks} more blocks` : null} /> },
      { title: "blocks", number: true, cell: (s) => s.blocks },
      { title: "requests", number: true, cell: (s) => load(s)?.requests ?? "n/a" },
      { title: "failed", number: true, cell: (s) => load(s)?.failed ?? "n/a" },
    ]} />
  );
}
