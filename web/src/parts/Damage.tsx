import { useAddress } from "@/data/address";
import { asCount, asMetric, asRatio, asShare, grouped } from "@/data/format";
import type { Run } from "@/data/run";
import { Choice } from "./Choice";
import { Fig } from "./figures";
import { Outputs } from "./Outputs";
import { Absent, Behind, Table } from "./Table";

const nats = asMetric("kl_divergence");
const share = (value: number | null | undefined) => value == null ? "n/a" : asShare(value);
const chance = (value: number | null) => value === null ? "n/a" : value >= 0.001 ? grouped(value, 3) : value.toExponential(1);
const visible = (text: string) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥");

/** Names of the variants in `rows`, and the one that the reader looks at. */
function useChosen(run: Run, rows: { variant: string }[], key: string): [string[], string, (name: string) => void] {
  const { get, set } = useAddress();
  const told = new Set(rows.map((r) => r.variant));
  const names = run.variants.map((v) => v.name).filter((name) => told.has(name));
  const asked = get(key);
  return [names, names.includes(asked ?? "") ? asked! : names.at(-1) ?? "", (name) => set(key, name)];
}

/** Where a distribution moved, and on which tokens most. */
export function WorstTokens({ run }: { run: Run }) {
  const [names, variant, choose] = useChosen(run, [...run.worst_tokens, ...run.damage], "of");
  const worst = run.worst_tokens.filter((w) => w.variant === variant);
  const damage = run.damage.filter((d) => d.variant === variant);
  return (
    <>
      <h3>The worst tokens</h3>
      {names.length ? (
        <>
          <p className="note">
            The scored tokens at which a variant&apos;s next-token distribution is farthest from {run.experiment.baseline}&apos;s, by KL divergence.
            Exploratory: the worst of many are always bad; the tables above say how much there is in all. p is n/a where an engine tells
            only its likeliest tokens and this one was not among them.
          </p>
          <div className="controls"><Choice label="Variant" choices={names.map((n) => [n, n])} now={variant} choose={choose} /></div>
          {worst.length ? (
            <Table caption={`The worst tokens of ${variant}`} className="tokens" first={8} key={variant} rows={worst} columns={[
              { title: "token", cell: (w) => <code className="token">{visible(w.token)}</code> },
              { title: "after", cell: (w) => <code className="context">{visible(w.before)}</code> },
              { title: "KL, nats", number: true, cell: (w) => nats(w.kl_divergence, false) },
              { title: `p, ${run.experiment.baseline}`, number: true, cell: (w) => chance(w.baseline_p) },
              { title: "p, variant", number: true, cell: (w) => chance(w.variant_p) },
              { title: `likeliest, ${run.experiment.baseline}`, cell: (w) => <><code>{visible(w.baseline_likeliest)}</code> <small>{chance(w.baseline_likeliest_p)}</small></> },
              { title: "likeliest, variant", cell: (w) => <><code>{visible(w.variant_likeliest)}</code> <small>{chance(w.variant_likeliest_p)}</small></> },
              { title: "corpus", cell: (w) => w.corpus },
              { title: "document, token", number: true, cell: (w) => `${w.document}, ${w.position}` },
            ]} />
          ) : <Absent>n/a (no worst tokens are stored with {variant}).</Absent>}
          {damage.length ? (
            <Behind title={`Where in the corpora: ${damage.length} parts`}>
              <Table caption={`Parts of each corpus, ${variant}; exploratory`} rows={damage} columns={[
                { title: "part", cell: (d) => d.part }, { title: "by", cell: (d) => d.by }, { title: "corpus", cell: (d) => d.corpus },
                { title: "tokens", number: true, cell: (d) => asCount(d.tokens) }, { title: "documents", number: true, cell: (d) => asCount(d.documents) },
                { title: "KL, nats", number: true, cell: (d) => <Fig figure={d.kl_divergence} format={nats} /> },
                { title: "share of all KL", number: true, cell: (d) => share(d.kl_share) },
                { title: "top-1 agreement", number: true, cell: (d) => <Fig figure={d.top1_agreement} format={asMetric("top1_agreement")} /> },
                { title: "change of NLL, nats", number: true, cell: (d) => <Fig figure={d.nll_change} format={nats} /> },
              ]} />
            </Behind>
          ) : null}
        </>
      ) : <Absent>n/a (this run stored no worst tokens{run.corpora.length ? ": it was scored by an engine or a version that does not tell them" : ": no corpus was scored"}).</Absent>}
    </>
  );
}

/** What was written after the same prompts, beside what the baseline wrote. */
export function SideBySide({ run }: { run: Run }) {
  const [names, variant, choose] = useChosen(run, run.most_changed, "of");
  const rows = run.most_changed.filter((c) => c.variant === variant);
  return (
    <>
      <h3>Outputs side by side</h3>
      {run.continuations.length ? (
        <>
          <p className="note">Greedy continuations of the same prompts, token by token. A change is not a loss: another wording may be as good.</p>
          <Table caption={`Continuations against ${run.experiment.baseline}`} rows={run.continuations} columns={[
            { title: "variant", cell: (c) => c.variant }, { title: "prompts", number: true, cell: (c) => asCount(c.prompts) },
            { title: "the same to the end", hint: "share of the prompts", number: true, cell: (c) => <Fig figure={c.agreement} format={asShare} /> },
            { title: "noise floor", hint: "the baseline against itself", number: true, cell: (c) => <Fig figure={c.noise ?? {}} format={asShare} /> },
            { title: "first other token", hint: "median over the prompts that changed, counted from 1", number: true, cell: (c) => <Fig figure={c.first_divergence} format={(x) => grouped(x + 1, Number.isInteger(x) ? 0 : 1)} /> },
            { title: "same before it", hint: "mean share of a continuation", number: true, cell: (c) => <Fig figure={c.same_share} format={asShare} /> },
            { title: "length", hint: "tokens written, variant / baseline", number: true, cell: (c) => <Fig figure={c.length_ratio} format={asRatio} /> },
          ]} />
          {names.length ? (
            <>
              <div className="controls"><Choice label="Variant" choices={names.map((n) => [n, n])} now={variant} choose={choose} /></div>
              <p className="note">The most changed of {variant}, least in common first. Marked: words that only one of the two has.</p>
              {rows.map((row) => <Outputs key={row.rank} row={row} baseline={run.experiment.baseline} />)}
            </>
          ) : <p className="note">Every continuation is the same as {run.experiment.baseline}&apos;s.</p>}
        </>
      ) : <Absent>n/a (this run has no continuations; <code>continuations:</code> under the experiment&apos;s <code>quality:</code> asks for them).</Absent>}
    </>
  );
}
