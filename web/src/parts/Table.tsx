import { Fragment, type ReactNode, useState } from "react";
import { asCount } from "@/data/format";

export type Column<Row> = { title: string; hint?: string; number?: boolean; cell: (row: Row) => ReactNode };

/** Rows that are shown at first, and with each wish for more: a table of thousands would hold up the page. */
const [SHOWN, MORE] = [25, 50];

/** `reference/documentation`: it may break after the stroke, and not within a word. */
const breakable = (cell: ReactNode) => typeof cell !== "string" ? cell
  : cell.split(/(?<=\/)/).map((part, i) => <Fragment key={i}>{i ? <wbr /> : null}{part}</Fragment>);

/** A table with a caption; it scrolls sideways by itself where the page is narrow. The first column heads its row. */
export function Table<Row>({ caption, columns, rows, className, first = SHOWN }: {
  caption: string; columns: Column<Row>[]; rows: Row[]; className?: string; first?: number;
}) {
  const [shown, show] = useState(first);
  return (
    <>
      <div className="scroll" tabIndex={0} role="region" aria-label={caption}>
        <table className={className}>
          <caption><span>{caption}</span></caption>
          <thead>
            <tr>{columns.map((c) => (
              <th key={c.title} scope="col" className={c.number ? "number" : undefined} title={c.hint}>{c.title}</th>
            ))}</tr>
          </thead>
          <tbody>
            {rows.slice(0, shown).map((row, i) => (
              <tr key={i}>{columns.map((c, j) => j === 0
                ? <th key={c.title} scope="row"><span>{breakable(c.cell(row))}</span></th>
                : <td key={c.title} className={c.number ? "number" : undefined}>{c.cell(row)}</td>)}</tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > shown ? (
        <button type="button" className="more" onClick={() => show(shown + MORE)}>
          {asCount(shown)} of {asCount(rows.length)} rows; show {Math.min(MORE, rows.length - shown)} more
        </button>
      ) : null}
    </>
  );
}

/** The figures under a chart, closed until somebody wants them, and made only then; on paper they stay closed. */
export function Behind({ title, children }: { title: string; children: ReactNode }) {
  const [opened, open] = useState(false);
  return (
    <details className="behind" onToggle={(event) => { if (event.currentTarget.open) open(true); }}>
      <summary>{title}</summary>{opened ? children : null}
    </details>
  );
}

export const Absent = ({ children }: { children: ReactNode }) => <p className="absent">{children}</p>;
