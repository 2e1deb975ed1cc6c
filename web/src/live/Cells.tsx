import { memo, useState } from "react";
import type { Cell, Now } from "./told";

type Place = { block: number; at: number | null };

const time = (at: number) => new Date(at * 1000).toLocaleTimeString();

/** The cell in hand; of an engine that is starting, all cells of its block. */
export const placeOf = (now: Now | null | undefined): string | null =>
  now?.variant === undefined ? null : [now.variant, now.block, now.subject === "starting" ? "" : now.subject].join("\n");

/** Every cell of the run: a line per variant, a square per block, filled when it is stored. */
export const Cells = memo(function Cells({ cells, now, open }: { cells: Cell[]; now: string | null; open: boolean }) {
  const [shown, setShown] = useState(open);
  const subjects = [...new Set(cells.map((c) => c[1]))];
  const lines = new Map<string, Map<string, Place[]>>();
  for (const [variant, subject, block, at] of cells) {
    const line = lines.get(variant) ?? new Map<string, Place[]>();
    line.set(subject, [...(line.get(subject) ?? []), { block, at }]);
    lines.set(variant, line);
  }
  const kind = (variant: string, subject: string, { block, at }: Place) =>
    at !== null ? "stored" : now === [variant, block, subject].join("\n") || now === [variant, block, ""].join("\n") ? "now" : "open";
  return (
    <details className="cells" open={shown} onToggle={(event) => setShown(event.currentTarget.open)}>
      <summary>Cells</summary>
      {shown ? (
        <div className="scroll" tabIndex={0} role="region" aria-label="Cells of the run">
          <table>
            <thead><tr><th scope="col">variant</th>{subjects.map((s) => <th key={s} scope="col">{s}</th>)}</tr></thead>
            <tbody>{[...lines].map(([variant, line]) => (
              <tr key={variant}>
                <th scope="row">{variant}</th>
                {subjects.map((subject) => {
                  const places = (line.get(subject) ?? []).toSorted((a, b) => a.block - b.block);
                  return (
                    <td key={subject}>
                      {places.map((place) => {
                        const state = kind(variant, subject, place);
                        return <i key={place.block} className={`cell ${state}`} aria-hidden="true"
                          title={`${variant}, ${subject}, block ${place.block + 1}: ${place.at !== null ? `stored ${time(place.at)}` : state === "now" ? "in hand" : "open"}`} />;
                      })}
                      {places.length ? <span className="spoken">{places.filter((p) => p.at !== null).length} of {places.length} stored</span> : null}
                    </td>
                  );
                })}
              </tr>
            ))}</tbody>
          </table>
        </div>
      ) : null}
    </details>
  );
});
