import { type Format, hasInterval, trimmed } from "@/data/format";
import type { Figure, Run } from "@/data/run";
import { type ChangeScale, changeScale, thin } from "./change";
import { Chart, XAxis } from "./frame";
import { Mark, looks } from "./marks";
import { signOf } from "@/parts/figures";

export type ForestRow = {
  group: string; variant: string; figure: Figure; rule: number | null; word: string | null; text: string; title: string;
  point: string; cells: string[];
};

const [PITCH, HEAD, TOP] = [24, 30, 10];

const tone = (word: string | null) => `tone-${word === "safe" ? "good" : word === "harmed" ? "bad" : "open"}`;

/** Everything that has a place on the axis. */
export const forestValues = (rows: ForestRow[]): number[] =>
  rows.flatMap((r) => [r.figure.value, r.figure.low, r.figure.high, r.rule]).filter((v): v is number => v != null);

/** A change per subject and variant with its interval, the line of no change, and each subject's margin. */
export function Forest({ run, rows, zero, margin, log, format, unit, title }: {
  run: Run; rows: ForestRow[]; zero: number; margin: number; log: boolean; format: Format; unit: string; title: string;
}) {
  const look = looks(run);
  const groups = [...new Set(rows.map((r) => r.group))];
  const height = TOP + groups.length * HEAD + rows.length * PITCH + 44;
  const values = forestValues(rows);
  return (
    <Chart title={title} height={height}>
      {(width) => {
        const wide = width > 620;
        const [left, right, bottom] = [wide ? 110 : 78, width - (wide ? 270 : 26), height - 42];
        const x: ChangeScale = changeScale(values, zero, margin, log, [left + 8, right - 8], Math.max(3, (right - left) / 110));
        // About 7.4 px a letter of a group's name, and 90 for the margin's.
        const roomFor = (group: string, rule: number) => x(rule) - (rule < zero ? 95 : 0) > group.length * 7.4;
        let y = TOP;
        return (
          <>
            <XAxis scale={x} ticks={thin(x.ticks, x, 44)} format={(v) => trimmed(format(v, false))} y={bottom} top={TOP} from={left} to={right} label={unit} />
            <line className="zero" x1={x(zero)} x2={x(zero)} y1={TOP} y2={bottom} />
            {groups.map((group) => {
              const mine = rows.filter((r) => r.group === group);
              const head = y;
              y += HEAD + mine.length * PITCH;
              const rule = mine[0]?.rule;
              return (
                <g key={group}>
                  <text className="strong" x={0} y={head + 19}>{group}</text>
                  {rule == null ? null : (
                    <g className="rule">
                      <line x1={x(rule)} x2={x(rule)} y1={head + 24} y2={y} />
                      {roomFor(group, rule) ? <text x={x(rule) + (rule < zero ? -5 : 5)} y={head + 20} textAnchor={rule < zero ? "end" : "start"}>margin {trimmed(format(rule))}</text> : null}
                    </g>
                  )}
                  {mine.map((row, i) => {
                    const at = head + HEAD + i * PITCH + PITCH / 2;
                    const own = look.get(row.variant)!;
                    return (
                      <g key={row.variant}>
                        <text x={left - 10} y={at} dy="0.32em" textAnchor="end">{row.variant}</text>
                        {row.figure.value == null ? <text x={x(zero) + 6} y={at} dy="0.32em">n/a ({row.figure.reason ?? "not measured"})</text> : (
                          <>
                            {hasInterval(row.figure) ? (
                              <path className="whisker" stroke={own.colour} d={`M${x(row.figure.low)},${at}H${x(row.figure.high)}`} />
                            ) : null}
                            <Mark look={own} name={row.variant} x={x(row.figure.value)} y={at} title={row.title} half={!hasInterval(row.figure)} point={row.point} />
                          </>
                        )}
                        {wide ? <text x={right + 14} y={at} dy="0.32em">
                          <tspan className={tone(row.word)}>{row.word ?? "n/a"}</tspan>
                          <tspan dx={8}>{row.text}</tspan></text>
                          : row.word ? <text className={tone(row.word)} x={right + 12} y={at} dy="0.32em">{signOf(row.word)}<title>{row.word}</title></text> : null}
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
