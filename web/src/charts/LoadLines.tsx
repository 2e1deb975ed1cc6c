import { scaleLinear, scaleLog, scalePoint } from "d3-scale";
import { area, line } from "d3-shape";
import { Fragment, memo } from "react";
import { type Format, figureText, hasInterval } from "@/data/format";
import { type Figure, type Load, type Run, loadText, requestsText } from "@/data/run";
import { Chart, Rule, XAxis, YAxis } from "./frame";
import { Whiskers, axisBegin, axisEnd, whisker } from "./Whisker";
import { Cross, Mark, looks } from "./marks";

/** `over`: it misses the SLO. `broken`: its requests failed or its queue grew, so it is drawn as a cross. */
export type Point = { key: string; load: Load; value: Figure; p95?: Figure; over: boolean; broken: boolean; row: Run["loads"][number] | undefined; blocks?: number };
export type Series = { variant: string; points: Point[] };
/** `scale`: from stored to shown units. */
export type Axis = { format: Format; tick: Format; unit: string; scale: number };

const HEIGHT = 220;

export const pointText = (variant: string, p: Point, format: Format): string =>
  `${variant}, ${p.load.name} (${loadText(p.load)}): ${figureText(p.value, format)}${p.p95 ? `; p95 ${figureText(p.p95, format)}` : ""}`
  + `${p.blocks === undefined ? "" : `; ${p.blocks} paired blocks`}; ${requestsText(p.row)}`;

/** One metric of one workload through its loads: a line per variant, intervals, p95 bands, the SLO. */
export const LoadLines = memo(function LoadLines({ run, series, axis, unit, title, limit, limitText, rule, log }: {
  run: Run; series: Series[]; axis: Axis; unit: string; title: string; log: boolean;
  /** The SLO's limit, and how it is called. */
  limit?: number; limitText?: string;
  /** A line that is no limit: 1x of a ratio, whose axis begins there. */
  rule?: number;
}) {
  const look = looks(run);
  const { format } = axis;
  const all = series.flatMap((s) => s.points);
  const figures = all.map((p) => p.value).filter((f) => f.value != null);
  const tails = all.map((p) => p.p95?.value);
  if (!figures.length) return <p className="absent">n/a ({all[0]?.value.reason ?? "all variants are hidden"})</p>;
  const loads = series[0]?.points.map((p) => p.load) ?? [];
  // The SLO is drawn where it is near; else it would press the lines flat.
  const end = axisEnd(figures, [...tails, rule]);
  const most = Math.max(end, limit && limit < 2 * end ? limit : 0);
  const least = axisBegin(figures, tails);
  return (
    <Chart title={title} height={HEIGHT} most={560}>
      {(width) => {
        const [left, right, top, bottom] = [52, width - 14, 22, HEIGHT - 40];
        const at = scalePoint(loads.map((l) => l.name), [left, right]).padding(0.35);
        const x = (l: Load) => at(l.name)!;
        // Variants stand a little apart, so that intervals do not hide each other.
        const aside = (order: number) => (order - (series.length - 1) / 2) * Math.min(7, 40 / series.length);
        const y = log ? scaleLog([least / 1.3, most * 1.3], [bottom, top]) : scaleLinear([rule === undefined ? 0 : Math.min(rule, least), most * 1.05], [bottom, top]).nice(5);
        const ticks = log ? logTicks(least / 1.3, most * 1.3, axis.scale) : y.ticks(5);
        return (
          <>
            <XAxis scale={(i) => x(loads[i]!)} ticks={loads.map((_, i) => i)} format={(i) => `${loads[i]!.at ?? "trace"}`} y={bottom} top={top}
              from={left} to={right} label={unit} />
            <YAxis scale={y} ticks={ticks} format={axis.tick} x={left} right={right} label={axis.unit} />
            {rule === undefined ? null : <line className="zero" x1={left} x2={right} y1={y(rule)} y2={y(rule)} />}
            {limit !== undefined ? (
              limit <= y.domain()[1]! && limit >= y.domain()[0]! ? <Rule at={y(limit)} from={left} to={right} text={limitText ?? ""} />
                : <text className="beyond" x={right} y={top - 8} textAnchor="end">{limitText}: {limit > y.domain()[1]! ? "above" : "below"} the axis</text>
            ) : null}
            {/* All bands first: none covers another variant's marks. */}
            {series.map(({ variant, points }, order) => {
              const fill = look.get(variant)!.colour;
              const px = (p: Point) => x(p.load) + aside(order);
              const banded = points.filter((p) => p.value.value != null && p.p95?.value != null);
              return banded.length > 1 ? (
                <path key={variant} className="band" fill={fill} opacity={0.16}
                  d={area<Point>(px, (p) => y(p.value.value!), (p) => y(p.p95!.value!))(banded) ?? ""} />
              ) : banded.map((p) => (
                <rect key={variant} className="band" fill={fill} opacity={0.3} x={px(p) - 3} width={6}
                  y={y(p.p95!.value!)} height={Math.max(0, y(p.value.value!) - y(p.p95!.value!))} />
              ));
            })}
            {series.map(({ variant, points }, order) => {
              const mine = look.get(variant)!;
              const px = (p: Point) => x(p.load) + aside(order);
              const known = points.filter((p) => p.value.value != null);
              const missed = known.find((p) => p.over);
              return (
                <g key={variant}>
                  <path d={line<Point>(px, (p) => y(p.value.value!))(known) ?? ""} stroke={mine.colour} fill="none" strokeWidth={1.8} strokeDasharray={mine.dash} />
                  <Whiskers colour={mine.colour} d={known.map((p) => whisker(p.value, px(p), { scale: y, range: [bottom, top - 8], upright: true })).join("")} />
                  {known.map((p) => {
                    const what = pointText(variant, p, format);
                    const py = y(p.value.value!);
                    return (
                      <Fragment key={p.load.name}>
                        {p === missed ? <circle className="ring" cx={px(p)} cy={py} r={9} fill="none" stroke="var(--bad)" strokeWidth={1.6} /> : null}
                        {p.broken ? <Cross look={mine} x={px(p)} y={py} title={what} point={p.key} />
                          : <Mark look={mine} name={variant} x={px(p)} y={py} title={what} half={!hasInterval(p.value)} point={p.key} />}
                      </Fragment>
                    );
                  })}
                  {points.filter((p) => p.value.value == null && p.broken).map((p) => (
                    <Cross key={p.load.name} look={mine} x={px(p)} y={top} title={pointText(variant, p, format)} point={p.key} />
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

/** 1, 2 and 5 of every power of ten, in shown units. */
function logTicks(least: number, most: number, scale: number): number[] {
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(least * scale)); power <= Math.log10(most * scale); power++) {
    for (const step of [1, 2, 5]) found.push((step * 10 ** power) / scale);
  }
  return found.filter((t) => t >= least && t <= most);
}
