import { scaleLinear, scaleLog, scalePoint } from "d3-scale";
import { area, line } from "d3-shape";
import { asMetric, asTick, figureText, hasInterval, metric } from "@/data/format";
import { type Figure, type Load, type Run, loadText } from "@/data/run";
import { Chart, Rule, XAxis, YAxis } from "./frame";
import { Cross, Mark, looks } from "./marks";

export type Point = {
  load: Load; value: Figure; p95?: Figure; over: boolean; blocks: number; requests: number; failed: number;
};
export type Series = { variant: string; points: Point[] };

const HEIGHT = 220;

/** One metric of one workload through its loads: a line per variant, intervals, p95 bands, the SLO. */
export function LoadLines({ run, series, metricKey, unit, title, limit, log }: {
  run: Run; series: Series[]; metricKey: string; unit: string; title: string; limit?: number; log: boolean;
}) {
  const look = looks(run);
  const format = asMetric(metricKey);
  const all = series.flatMap((s) => s.points);
  const values = all.flatMap((p) => [p.value.value, p.value.low, p.value.high, p.p95?.value]).filter((v): v is number => v != null);
  if (!values.length) return <p className="absent">n/a ({all[0]?.value.reason ?? "all variants are hidden"})</p>;
  const loads = series[0]?.points.map((p) => p.load) ?? [];
  // The SLO is drawn where it is near; else it would press the lines flat.
  const most = Math.max(...values, limit && limit < 2 * Math.max(...values) ? limit : 0);
  const least = Math.min(...values.filter((v) => v > 0));
  return (
    <Chart title={title} height={HEIGHT} most={560}>
      {(width) => {
        const [left, right, top, bottom] = [52, width - 14, 22, HEIGHT - 40];
        const at = scalePoint(loads.map((l) => l.name), [left, right]).padding(0.35);
        const x = (l: Load) => at(l.name)!;
        const y = log ? scaleLog([least / 1.3, most * 1.3], [bottom, top]) : scaleLinear([0, most * 1.05], [bottom, top]).nice(5);
        const ticks = log ? logTicks(least / 1.3, most * 1.3, metric(metricKey).scale) : y.ticks(5);
        return (
          <>
            <XAxis scale={(i) => x(loads[i]!)} ticks={loads.map((_, i) => i)} format={(i) => `${loads[i]!.at ?? "trace"}`} y={bottom} top={top}
              from={left} to={right} label={unit} />
            <YAxis scale={y} ticks={ticks} format={asTick(metricKey)} x={left} right={right} label={metric(metricKey).unit} />
            {limit !== undefined ? (
              limit <= y.domain()[1]! ? <Rule at={y(limit)} from={left} to={right} text={`SLO ${format(limit)}`} />
                : <text x={right} y={top - 8} textAnchor="end">SLO {format(limit)}: above the axis</text>
            ) : null}
            {series.map(({ variant, points }, order) => {
              const mine = look.get(variant)!;
              // Variants stand a little apart, so that intervals do not hide each other.
              const aside = (order - (series.length - 1) / 2) * Math.min(7, 40 / series.length);
              const px = (p: Point) => x(p.load) + aside;
              const known = points.filter((p) => p.value.value != null);
              const missed = known.find((p) => p.over);
              const banded = known.filter((p) => p.p95?.value != null);
              return (
                <g key={variant}>
                  {banded.length > 1 ? (
                    <path className="band" fill={mine.colour} opacity={0.13}
                      d={area<Point>(px, (p) => y(p.value.value!), (p) => y(p.p95!.value!))(banded) ?? ""} />
                  ) : banded.map((p) => (
                    <rect key={p.load.name} className="band" fill={mine.colour} opacity={0.2} x={px(p) - 3} width={6}
                      y={y(p.p95!.value!)} height={Math.max(0, y(p.value.value!) - y(p.p95!.value!))} />
                  ))}
                  <path d={line<Point>(px, (p) => y(p.value.value!))(known) ?? ""} stroke={mine.colour} fill="none" strokeWidth={1.8} strokeDasharray={mine.dash} />
                  {known.map((p) => {
                    const what = `${variant}, ${loadText(p.load)}: ${figureText(p.value, format)}`
                      + (p.p95 ? `; p95 ${figureText(p.p95, format)}` : "")
                      + `; ${p.requests} requests in ${p.blocks} ${p.blocks === 1 ? "block" : "blocks"}, ${p.failed} failed`;
                    const py = y(p.value.value!);
                    return (
                      <g key={p.load.name}>
                        {hasInterval(p.value) && (!log || p.value.low > 0) ? (
                          <path className="whisker" stroke={mine.colour} d={`M${px(p)},${y(p.value.low)}V${y(p.value.high)}`} />
                        ) : null}
                        {p === missed ? <circle className="ring" cx={px(p)} cy={py} r={9} fill="none" stroke="var(--bad)" strokeWidth={1.6} /> : null}
                        {p.failed > 0 ? <Cross look={mine} x={px(p)} y={py} title={what} />
                          : <Mark look={mine} name={variant} x={px(p)} y={py} title={what} />}
                      </g>
                    );
                  })}
                  {points.filter((p) => p.value.value == null && p.failed > 0).map((p) => (
                    <Cross key={p.load.name} look={mine} x={px(p)} y={top} title={`${variant}, ${loadText(p.load)}: ${figureText(p.value, format)}; ${p.failed} of ${p.requests} requests failed`} />
                  ))}
                </g>
              );
            })}
          </>
        );
      }}
    </Chart>
  );
}

/** 1, 2 and 5 of every power of ten, in shown units. */
function logTicks(least: number, most: number, scale: number): number[] {
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(least * scale)); power <= Math.log10(most * scale); power++) {
    for (const step of [1, 2, 5]) found.push((step * 10 ** power) / scale);
  }
  return found.filter((t) => t >= least && t <= most);
}
