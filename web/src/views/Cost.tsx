import { type ScaleLinear, scaleLinear } from "d3-scale";
import { memo, useMemo, useState } from "react";
import { Chart, XAxis } from "@/charts/frame";
import { CUT, Whiskers, axisEnd, isCut, whisker } from "@/charts/Whisker";
import { Legend, looks } from "@/charts/marks";
import { setState, useAddress, useHidden } from "@/data/address";
import { useFollowed } from "@/data/followed";
import { type Format, asMetric, asRatio, decimals, figureText, grouped, hasInterval, metric } from "@/data/format";
import { type Figure, type Run, percentileAt, sloOf, whyMissing } from "@/data/run";
import { type Held, type Limits, type Price, atEachLoad, limitsText, mixed, ownSlo, whatIf } from "@/data/whatIf";
import { Choice } from "@/parts/Choice";
import { Fig } from "@/parts/figures";
import { Picked, Raw, among } from "@/parts/Records";
import { Absent, Behind, Table } from "@/parts/Table";

/** Decimals that the interval supports, and never less than two digits of the price. */
const usdDigits = (value: number, of?: Figure) =>
  Math.max(decimals(value, of, value < 0.1 ? 4 : value < 10 ? 3 : 2), value > 0 ? 1 - Math.floor(Math.log10(of?.value || value)) : 0);
const asUsd: Format = (value, unit = true, of) => (unit ? "$" : "") + grouped(value, usdDigits(value, of));
const PERCENTILES = ["p50", "p90", "p95", "p99"];
const LIMITS = ["ttft", "tpot", "e2e"] as const;
// `itl_ms` binds every request's mean time per token.
const OWN = { ttft: "ttft_ms", tpot: "itl_ms", e2e: "e2e_ms" } as const;

/** The highest percentile that every load has requests enough for. */
const supported = (run: Run): string =>
  PERCENTILES.toReversed().find((p) => run.loads.every((l) => percentileAt(run, "tpot", p, l.variant, l.load).value != null)) ?? "p50";

/** `chat:3,long:1` as shares of the output tokens; what is not named has a share of 1. */
function sharesOf(text: string | null, workloads: string[]): Map<string, number> {
  const given = new Map((text ?? "").split(",").filter(Boolean).map((pair) => {
    const cut = pair.lastIndexOf(":");
    return [decodeURIComponent(pair.slice(0, cut)), Math.max(0, Number(pair.slice(cut + 1)) || 0)] as const;
  }));
  return new Map(workloads.map((w) => [w, given.get(w) ?? 1]));
}

function Amount({ label, unit, value, step, change }: {
  label: string; unit: string; value: number | null; step: string; change: (text: string) => void;
}) {
  // What is being typed need not be a number yet: `0.` on the way to 0.5.
  const [typed, type] = useState<string | null>(null);
  return (
    <label className="amount">{label} <span><input type="number" min="0" step={step} inputMode="decimal" value={typed ?? value ?? ""} placeholder="none"
      onChange={(event) => { type(event.target.value); change(event.target.value); }} onBlur={() => type(null)} /> {unit}</span></label>
  );
}

export function Cost({ run }: { run: Run }) {
  const { get, set } = useAddress();
  const [hidden, toggle] = useHidden();
  const slo = sloOf(run);
  const gpu = ((run.environment.gpus as unknown[] | undefined) ?? []).length > 0;
  const policy = run.costs[0] ? run.costs[0].hour_usd / run.costs[0].gpus : null;
  const price = Number(get("price")) > 0 ? Number(get("price")) : policy;
  // `0` is an answer of the reader's: no limit.
  const ms = (key: (typeof LIMITS)[number]): number | null => {
    const asked = get(key);
    const own = slo[OWN[key]];
    return asked === null ? own ?? null : Number(asked) > 0 ? Number(asked) : null;
  };
  const limitMs = LIMITS.map(ms);
  const known = useMemo(() => supported(run), [run]);
  const standard = Object.keys(slo).length ? `p${+((slo.share ?? 0.95) * 100).toFixed(2)}` : known;
  const percentile = [...PERCENTILES, standard].find((p) => p === get("at")) ?? standard;
  const moved = LIMITS.some((key) => get(key) !== null) || percentile !== standard;
  const asMix = get("mix");
  const names = [...hidden].join("\n");
  const key = limitMs.map((most) => most ?? 0).join();
  // The controls answer at once; what is computed from them follows as soon as it is there.
  const drawn = useFollowed(useMemo(() => ({ key, percentile, price, changed: moved, asMix, names }), [key, percentile, price, moved, asMix, names]));
  const { changed } = drawn;
  const limits = useMemo(() => {
    const most = drawn.key.split(",").map(Number);
    return Object.fromEntries(LIMITS.flatMap((name, i) => most[i] ? [[name, most[i] / metric(name).scale]] : [])) as Limits;
  }, [drawn.key]);
  const held = useMemo(() => {
    if (drawn.price === null) return [];
    const rows = whatIf(run, limits, drawn.percentile, drawn.price);
    return drawn.changed ? rows : ownSlo(run, rows, drawn.price);
  }, [run, limits, drawn.percentile, drawn.price, drawn.changed]);
  const workloads = useMemo(() => [...new Set(held.map((h) => h.workload))], [held]);
  const shares = sharesOf(asMix, workloads);
  const shown = useMemo(() => held.filter((h) => !drawn.names.split("\n").includes(h.variant)), [held, drawn.names]);
  const mix = useMemo(() => workloads.length > 1 ? mixed(shown, sharesOf(drawn.asMix, workloads)) : [], [shown, drawn.asMix, workloads]);
  if (!run.loads.length) return <Absent>Cost: n/a ({whyMissing(run, "speed", "load")}).</Absent>;
  const asked = Object.keys(limits);
  const limitsInWords = limitsText(limits);
  const tell = among(shown, (h) => `${h.variant} ${h.workload}`, (h) => ({ text: textOf(h), cells: h.cells }));
  return (
    <>
      <div className="controls">
        <Amount label={`An hour of one ${gpu ? "GPU" : "machine"}`} unit="USD" step="0.01" value={price} change={(text) => set("price", text)} />
        {LIMITS.map((name, i) => (
          <Amount key={name} label={`${metric(name).label} at most`} unit="ms" step="any" value={limitMs[i]!}
            change={(text) => set(name, text || (slo[OWN[name]] ? "0" : null))} />
        ))}
        <Choice label="Percentile held against the limits" choices={[...new Set([...PERCENTILES, standard])].map((p) => [p, p])} now={percentile}
          choose={(p) => set("at", p === standard ? null : p)} />
        <Legend run={run} hidden={hidden} toggle={toggle} />
      </div>
      {workloads.length > 1 ? (
        <div className="controls">
          <span className="label">The mix, shares of the output tokens:</span>
          {workloads.map((w) => (
            <Amount key={w} label={w} unit="" step="any" value={shares.get(w)!} change={(text) => {
              const next = new Map(shares).set(w, Number(text) || 0);
              setState("mix", [...next].every(([, share]) => share === 1) ? null
                : [...next].map(([name, share]) => `${encodeURIComponent(name)}:${share}`).join(","));
            }} />
          ))}
        </div>
      ) : null}
      <p className="note">
        {policy === null ? "The policy of this run names no price. " : `The policy assumes $${grouped(policy, 2)} an hour. `}
        What you set here changes only what this view computes from the measured figures; the verdicts keep the policy&apos;s.
        {asked.length
          ? ` Solid: the highest measured load at which ${limitsInWords} hold${asked.length === 1 ? "s" : ""} at ${drawn.percentile}, with its 95% interval. Hatched: interpolated between two measured loads${changed || !run.capacity.length ? "; it has no interval" : ""}.`
          : " No SLO is set: solid bars are at the load with the highest throughput, so the least that a token can cost."}
        {isCut(shown.flatMap((h) => [h.measured.usd, h.between?.usd ?? {}])) ? ` ${CUT}` : ""}
        {changed && asked.length ? " Each percentile is held against its own limit; the verdict's SLO asks for one request to meet all of them." : ""}
        {mix.some((m) => hasInterval(m.usd)) ? " The mix's interval adds up those of its workloads, so it is wide." : ""}
      </p>
      {drawn.price === null ? <Absent>Cost: n/a (no price). Give one above.</Absent> : (
        <>
          <Bars run={run} rows={shown} mix={mix} />
          <Picked tell={tell} />
          <Behind title="The figures: cost">
            <Table caption="USD per million output tokens" rows={shown} columns={[
              { title: "workload", cell: (r) => r.workload }, { title: "variant", cell: (r) => r.variant },
              { title: "measured, USD / M", number: true, cell: (r) => <Fig figure={r.measured.usd} format={asUsd} /> },
              { title: "at", cell: (r) => r.measured.at },
              { title: "throughput", number: true, cell: (r) => <Fig figure={r.measured.throughput} format={asMetric("output_throughput")} /> },
              { title: "interpolated, USD / M", number: true, cell: (r) => r.between ? <Fig figure={r.between.usd} format={asUsd} /> : "n/a" },
              { title: "where", cell: (r) => r.between?.at ?? "no limit is reached between two measured loads" },
              { title: gpu ? "GPUs" : "machines", number: true, cell: (r) => r.gpus },
              { title: "raw", cell: (r) => <Raw cells={r.cells} /> },
            ]} />
          </Behind>
          <Behind title="The figures: cost at each load">
            <Table caption="USD per million output tokens, of an hour that is busy all through at that load"
              rows={atEachLoad(run, drawn.price).filter((r) => !hidden.has(r.variant))} columns={[
                { title: "load", cell: (r) => r.load }, { title: "variant", cell: (r) => r.variant },
                { title: "USD / M", number: true, cell: (r) => <Fig figure={r.usd} format={asUsd} /> },
                { title: "ratio", number: true, cell: (r) => <Fig figure={r.ratio} format={asRatio} /> },
              ]} />
          </Behind>
        </>
      )}
    </>
  );
}

const priceText = (p: Price) => `${figureText(p.usd, asUsd)} at ${p.at}`;
const textOf = (h: Held) => `${h.variant}, ${h.workload}, USD per million output tokens: measured ${priceText(h.measured)}`
  + (h.between ? `; ${priceText(h.between)}` : "");

type Bar = { variant: string; measured: Figure; at: string; between: Price | null; title: string; point?: string };
const [PITCH, HEAD, THIN] = [30, 30, 12];

const Bars = memo(function Bars({ run, rows, mix }: { run: Run; rows: Held[]; mix: { variant: string; usd: Figure }[] }) {
  const look = looks(run);
  const groups: [string, Bar[]][] = [...new Set(rows.map((r) => r.workload))].map((workload) => [workload,
    rows.filter((r) => r.workload === workload).map((r) => ({
      variant: r.variant, measured: r.measured.usd, at: r.measured.at, between: r.between, title: textOf(r), point: `${r.variant} ${r.workload}`,
    }))]);
  if (mix.length) {
    groups.push(["The mix", mix.map((m) => ({ variant: m.variant, measured: m.usd, at: m.usd.reason ?? "", between: null,
      title: `${m.variant}, the mix: ${figureText(m.usd, asUsd)}, the workloads' measured costs by their shares; the interval adds theirs, so it is wide` }))]);
  }
  const bars = groups.flatMap(([, b]) => b);
  const drawn = bars.flatMap((b) => [b.measured, b.between?.usd ?? {}]).filter((f) => f.value != null);
  const most = drawn.length ? axisEnd(drawn) : 0;
  if (!(most > 0)) return <Absent>Cost: n/a ({bars.map((b) => b.measured.reason).find(Boolean) ?? "all variants are hidden"}).</Absent>;
  const height = groups.reduce((sum, [, b]) => sum + HEAD + b.length * PITCH, 0) + 44;
  const names = [...look.keys()];
  // Prices one below the other have the same decimals: those that all their intervals support, and two digits of the least.
  const least = Math.min(...drawn.map((f) => f.value!).filter((value) => value > 0));
  const digits = Math.max(Math.min(...drawn.map((f) => usdDigits(f.value!, f))), 1 - Math.floor(Math.log10(least)));
  return (
    <Chart title="Cost of a million output tokens" height={height}>
      {(width) => {
        const wide = width > 620;
        const [left, right, bottom] = [Math.min(150, 20 + 7 * Math.max(...names.map((n) => n.length))), width - (wide ? (bars.some((b) => b.between) ? 270 : 190) : 56), height - 42];
        const x = scaleLinear([0, most], [left, right]);
        const steps = Math.max(3, (right - left) / 110);
        let y = 0;
        return (
          <>
            <defs>{[...look].map(([name, { colour }], i) => (
              <pattern key={name} id={`between-${i}`} width={6} height={6} patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
                <rect width={6} height={6} fill="var(--paper)" /><rect width={2.5} height={6} fill={colour} />
              </pattern>
            ))}</defs>
            <XAxis scale={x} ticks={x.ticks(steps)} format={(v) => `$${v.toFixed(x.ticks(steps).some((t) => Math.abs(t * 100 - Math.round(t * 100)) > 1e-6) ? 3 : 2)}`} y={bottom} top={4} from={left} to={right}
              label={wide ? "USD per million output tokens (lower is better)" : "USD per million tokens, lower is better"} />
            {groups.map(([group, mine]) => {
              const head = y;
              y += HEAD + mine.length * PITCH;
              return (
                <g key={group}>
                  <text className="strong" x={0} y={head + 20}>{group}</text>
                  {mine.map((bar, i) => (
                    <BarRow key={bar.variant} bar={bar} top={head + HEAD + i * PITCH} colour={look.get(bar.variant)!.colour}
                      price={(value) => `$${grouped(value, digits)}`} hatch={`url(#between-${names.indexOf(bar.variant)})`} x={x} most={most} width={width} wide={wide} />
                  ))}
                </g>
              );
            })}
          </>
        );
      }}
    </Chart>
  );
});

/** As much of `text` as `room` px hold. */
const clipped = (text: string, room: number) => text.length * 6.4 > room ? `${text.slice(0, Math.max(1, Math.floor(room / 6.4) - 1))}…` : text;

function BarRow({ bar, top, colour, price, hatch, x, most, width, wide }: {
  bar: Bar; top: number; colour: string; price: (value: number) => string; hatch: string; x: ScaleLinear<number, number>; most: number; width: number; wide: boolean;
}) {
  const { measured, between, point, variant, title } = bar;
  const [left, right] = x.range() as [number, number];
  const middle = top + PITCH / 2;
  const thick = between ? 12 : 18;
  const at = between ? top + 3 : middle - thick / 2;
  const below = at + thick + THIN / 2;
  const end = Math.min(most, Math.max(...[measured, between?.usd ?? {}].flatMap((f) => [f.value ?? 0, f.high ?? 0])));
  const here = measured.value != null;
  return (
    <g>
      <text x={left - 8} y={middle} dy="0.32em" textAnchor="end">{clipped(variant, left - 10)}<title>{variant}</title></text>
      {here ? (
        <rect className="part" data-point={point} x={left} width={Math.max(1, x(measured.value!) - left)} y={at} height={thick} fill={colour} fillOpacity={0.55}
          stroke={colour} onClick={point === undefined ? undefined : () => setState("point", point)}><title>{title}</title></rect>
      ) : (
        <text x={left + 6} y={between ? at + thick / 2 : middle} dy="0.32em">{clipped(`n/a (${bar.at})`, width - left - 8)}<title>{title}</title></text>
      )}
      <Whiskers d={whisker(measured, at + thick / 2, { scale: x, range: [left, right] })} colour="var(--ink)" />
      {between?.usd.value == null ? null : (
        <>
          <rect className="between" data-point={point} x={left} width={Math.max(1, x(between.usd.value) - left)} y={at + thick} height={THIN} fill={hatch} stroke={colour}
            onClick={point === undefined ? undefined : () => setState("point", point)}><title>{title}</title></rect>
          <Whiskers d={whisker(between.usd, below, { scale: x, range: [left, right] })} colour="var(--ink)" />
        </>
      )}
      <text x={x(end) + 8} y={here ? middle : below} dy="0.32em">
        {here ? price(measured.value!) : ""}
        {wide && here && bar.at ? <tspan dx={8} className="sum">{bar.at.split(/[,;]/)[0]}</tspan> : null}
        {between?.usd.value != null && (wide || !here) ? <tspan dx={here ? 8 : 0} className="sum">{wide ? `(${price(between.usd.value)} interpolated)` : price(between.usd.value)}</tspan> : null}
      </text>
    </g>
  );
}
