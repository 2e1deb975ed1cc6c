// How a variant looks in every chart: a hue that colour-blind readers can tell apart, and a shape of its own.

import { symbol, symbolCircle, symbolCross, symbolDiamond, symbolSquare, symbolTriangle, symbolWye } from "d3-shape";
import { setState } from "@/data/address";
import type { Run } from "@/data/run";

const SHAPES = [symbolCircle, symbolSquare, symbolTriangle, symbolDiamond, symbolWye, symbolCross];
const HUES = 7;

export type Look = { colour: string; path: string; dash: string | undefined };

const KNOWN = new WeakMap<Run, Map<string, Look>>();

/** The baseline is the ink's colour and a circle; the others take hues and shapes in turn. */
export function looks(run: Run): Map<string, Look> {
  const known = KNOWN.get(run);
  if (known) return known;
  let at = 0;
  const made: Map<string, Look> = new Map(run.variants.map((variant) => {
    const i = variant.baseline ? -1 : at++;
    const shape = SHAPES[(i + 1) % SHAPES.length]!;
    return [variant.name, {
      colour: i < 0 ? "var(--ink)" : `var(--hue-${(i % HUES) + 1})`,
      path: symbol(shape, 64)() ?? "",
      dash: i < 0 ? "5 3" : undefined,
    }];
  }));
  KNOWN.set(run, made);
  return made;
}

const pick = (point: string | undefined) => point === undefined ? undefined : () => setState("point", point);

/** `point`: the key under which the view tells more of it, once it is picked. `hollow`: it is dominated; `half`: it has no
 * interval, so nothing can be said of it beyond its value. */
export function Mark({ look, x, y, title, hollow, half, name, point }: {
  look: Look; x: number; y: number; title: string; hollow?: boolean; half?: boolean; name: string; point?: string;
}) {
  const place = `translate(${x},${y})`;
  return (
    <>
      <path className={half ? "mark half" : hollow ? "mark hollow" : "mark"} data-variant={name} data-point={point} onClick={pick(point)} d={look.path} transform={place}
        stroke={look.colour} strokeWidth={1.8} fill={half || hollow ? "var(--paper)" : look.colour}>
        <title>{title}</title>
      </path>
      {half ? <path className="filling" d={look.path} transform={place} clipPath="url(#left)" fill={look.colour} /> : null}
    </>
  );
}

/** The left half of a mark; every chart holds it. */
export const Halves = () => <defs><clipPath id="left"><rect x={-8} y={-8} width={8} height={16} /></clipPath></defs>;

/** What the half filled marks of a chart mean. */
export const HALF = "A half filled mark is a value without an interval; picked, it says why.";

/** What failed or saturated: a cross, in the variant's colour. */
export function Cross({ look, x, y, title, point }: { look: Look; x: number; y: number; title: string; point?: string }) {
  return (
    <path className="cross" data-point={point} onClick={pick(point)} d="M-5,-5L5,5M-5,5L5,-5" transform={`translate(${x},${y})`} stroke={look.colour}
      strokeWidth={2.2} fill="none"><title>{title}</title></path>
  );
}

export function Legend({ run, hidden, toggle }: {
  run: Run; hidden?: Set<string>; toggle?: (name: string) => void;
}) {
  return (
    <div className="legend" role="group" aria-label="Variants">
      {[...looks(run)].map(([name, look]) => {
        const inside = (
          <>
            <svg width={26} height={14} aria-hidden="true">
              <line x1={0} x2={26} y1={7} y2={7} stroke={look.colour} strokeWidth={2} strokeDasharray={look.dash} />
              <path d={look.path} transform="translate(13,7)" fill={look.colour} />
            </svg>
            {name}
          </>
        );
        return toggle
          ? <button key={name} type="button" aria-pressed={!hidden?.has(name)} onClick={() => toggle(name)}>{inside}</button>
          : <span key={name}>{inside}</span>;
      })}
    </div>
  );
}
