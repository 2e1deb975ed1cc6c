import type { ReactNode } from "react";

export type Column<Row> = { title: string; hint?: string; number?: boolean; cell: (row: Row) => ReactNode };

/** A table with a caption; it scrolls sideways by itself where the page is narrow. The first column heads its row. */
export function Table<Row>({ caption, columns, rows, className }: {
  caption: string; columns: Column<Row>[]; rows: Row[]; className?: string;
}) {
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table className={className}>
        <caption>{caption}</caption>
        <thead>
          <tr>{columns.map((c) => (
            <th key={c.title} scope="col" className={c.number ? "number" : undefined} title={c.hint}>{c.title}</th>
          ))}</tr>
        </thead>
        <tbody>
          {rows.map((row, i) => (
            <tr key={i}>{columns.map((c, j) => j === 0
              ? <th key={c.title} scope="row"><span>{c.cell(row)}</span></th>
              : <td key={c.title} className={c.number ? "number" : undefined}>{c.cell(row)}</td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The figures under a chart, closed until somebody wants them; on paper they stay closed. */
export function Behind({ title, children }: { title: string; children: ReactNode }) {
  return <details className="behind"><summary>{title}</summary>{children}</details>;
}

export const Absent = ({ children }: { children: ReactNode }) => <p className="absent">{children}</p>;
