import { useState } from "react";
import { setState, useAddress } from "@/data/address";
import { isLive } from "@/live/told";

/** A point of a chart: what is said of it, and the folders of the cells that it was made from. */
export type Told = { key: string; text: string; cells: string[] };

const NONE = "not named in this summary";

/** Links to raw records, beside the report in its results folder; away from it a link still names its cell. */
export function Raw({ cells }: { cells: string[] | undefined }) {
  const [opened, open] = useState(false);
  if (!cells?.length) return <span className="na">n/a <small>{NONE}</small></span>;
  return (
    <details className="raw" onToggle={(event) => { if (event.currentTarget.open) open(true); }}>
      <summary>{cells.length === 1 ? "1 cell" : `${cells.length} cells`}</summary>
      {opened ? <ul>{cells.map((cell) => <li key={cell}><Link cell={cell} /></li>)}</ul> : null}
    </details>
  );
}

export function Link({ cell }: { cell: string }) {
  const run = useAddress().get("run");
  const href = isLive() && run !== null ? `record?${new URLSearchParams({ run, cell })}` : `cells/${encodeURIComponent(cell)}/cell.json`;
  return <a href={href}>{cell}</a>;
}

/** The one of `points` that is asked for. */
export const among = <P,>(points: P[], keyOf: (point: P) => string, tell: (point: P) => Omit<Told, "key">) => (key: string): Told | null => {
  const point = points.find((p) => keyOf(p) === key);
  return point === undefined ? null : { key, ...tell(point) };
};

/** What the reader picked in a chart, by a click on its mark; the tables give the same to the keyboard. */
export function Picked({ tell }: { tell: (key: string) => Told | null }) {
  const { get } = useAddress();
  const key = get("point");
  if (!key) return <p className="hint">Pick a point for its raw records; the tables have them too.</p>;
  const told = tell(key);
  if (!told) return null;
  return (
    <div className="picked" role="status">
      <style>{`[data-point="${CSS.escape(key)}"] { stroke: var(--ink); stroke-width: 4px; paint-order: stroke; }`}</style>
      <p>{told.text}</p>
      {told.cells.length ? <p>Raw records: {told.cells.map((cell, i) => <span key={cell}>{i ? ", " : ""}<Link cell={cell} /></span>)}</p>
        : <p>Raw records: n/a ({NONE}).</p>}
      <button type="button" className="close" onClick={() => setState("point", null)}>Close</button>
    </div>
  );
}
