import { Fragment } from "react";
import { type Format, asCount, asFineRatio, asPoints, asRatio, asShare } from "@/data/format";
import type { Run } from "@/data/run";
import { Fig, Word } from "@/parts/figures";
import { Table } from "@/parts/Table";

type Row = Run["asked"][number];

const FORMATS: Record<Row["kind"], Format> = {
  size: asRatio, "all tasks": asPoints, task: asPoints, perplexity: asFineRatio, continuations: asShare, speed: asRatio,
};

const WHAT: Partial<Record<Row["kind"], (subject: string) => string>> = {
  perplexity: (subject) => `perplexity, ${subject}`, continuations: () => "same continuation",
  speed: (subject) => `throughput, ${subject}`,
};

/** Comparisons of two variants neither of which need be the baseline, as the experiment asked for them. */
export function Asked({ run }: { run: Run }) {
  const pairs = [...new Map(run.asked.map((row) => [`${row.variant}\n${row.reference}`, row])).values()];
  return (
    <>
      {pairs.map((pair) => (
        <Fragment key={`${pair.variant} ${pair.reference}`}>
          <h3>{pair.variant} against {pair.reference}</h3>
          <Table caption={`From the same cells, with ${pair.reference} in the baseline's place; such a pair has no noise floor of its own.`}
            rows={run.asked.filter((row) => row.variant === pair.variant && row.reference === pair.reference)} columns={[
              { title: "what", cell: (row) => WHAT[row.kind]?.(row.subject) ?? row.subject },
              { title: "n", number: true, cell: (row) => row.n == null ? null : asCount(row.n) },
              { title: "difference", number: true, cell: (row) => <Fig figure={row.effect} format={FORMATS[row.kind]} /> },
              { title: "lost / gained", number: true,
                cell: (row) => row.lost == null ? null : `${asCount(row.lost)} / ${asCount(row.gained ?? 0)}` },
              { title: "verdict", cell: (row) => row.word == null ? null : <Word word={row.word} /> },
            ]} />
        </Fragment>
      ))}
    </>
  );
}
