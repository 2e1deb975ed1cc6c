import { asCount, asShare } from "@/data/format";
import type { Run } from "@/data/run";

type Row = Run["most_changed"][number];

/** Characters around the first difference: an output may have millions. */
const [BEFORE, AFTER] = [160, 1600];
/** Words that are compared one by one; what is beyond is marked as a whole. */
const WORDS = 240;

type Piece = { text: string; own: boolean };

/** What of `ours` is not in `theirs`, word by word: a longest common subsequence of the first words of each. */
function pieces(ours: string[], theirs: string[]): Piece[] {
  const [n, m] = [ours.length, theirs.length];
  const longest = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1));
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--) {
      longest[i]![j] = ours[i] === theirs[j] ? longest[i + 1]![j + 1]! + 1 : Math.max(longest[i + 1]![j]!, longest[i]![j + 1]!);
    }
  }
  const found: Piece[] = [];
  for (let i = 0, j = 0; i < n; ) {
    const shared = j < m && ours[i] === theirs[j];
    if (!shared && j < m && longest[i]![j + 1]! > longest[i + 1]![j]!) { j++; continue; }
    const last = found.at(-1);
    if (last && last.own === !shared) last.text += ours[i]!;
    else found.push({ text: ours[i]!, own: !shared });
    i++;
    if (shared) j++;
  }
  return found;
}

const words = (text: string) => text.match(/\s*\S+|\s+$/g) ?? [];

/** Code points, as Python counts characters, up to `count` of them. */
function unitsOf(text: string, count: number): number {
  let at = 0;
  for (let i = 0; i < count && at < text.length; i++) at += text.codePointAt(at)! > 0xffff ? 2 : 1;
  return at;
}

function Text({ of, against, from }: { of: string; against: string; from: number }) {
  const start = Math.max(0, from - BEFORE);
  const same = of.slice(start, from);
  const [ours, theirs] = [words(of.slice(from, from + AFTER)), words(against.slice(from, from + AFTER))];
  const left = of.length - Math.min(of.length, from + AFTER);
  return (
    <pre className="output" tabIndex={0}>
      {start > 0 ? <span className="cut">[{asCount(start)} characters that are the same] </span> : null}
      {same}
      {pieces(ours.slice(0, WORDS), theirs.slice(0, WORDS)).map((p, i) => p.own ? <mark key={i}>{p.text}</mark> : <span key={i}>{p.text}</span>)}
      {ours.length > WORDS ? <span>{ours.slice(WORDS).join("")}</span> : null}
      {left > 0 ? <span className="cut"> [{asCount(left)} characters more]</span> : null}
      {of.length === 0 ? <span className="cut">[nothing]</span> : null}
    </pre>
  );
}

/** One prompt, and what the baseline and the variant wrote after it; what only one of them has is marked. */
export function Outputs({ row, baseline }: { row: Row; baseline: string }) {
  const from = unitsOf(row.baseline_text, row.character);
  return (
    <article className="outputs">
      <p><b>{row.id}</b> <small>{asShare(row.common)} of the tokens in common; they first differ at token {asCount(row.first_divergence + 1)}</small></p>
      <pre className="output prompt" tabIndex={0}>{row.prompt}</pre>
      <div className="pair">
        <div><small>{baseline}, {asCount(row.baseline_tokens)} tokens</small><Text of={row.baseline_text} against={row.variant_text} from={from} /></div>
        <div><small>{row.variant}, {asCount(row.variant_tokens)} tokens</small><Text of={row.variant_text} against={row.baseline_text} from={from} /></div>
      </div>
    </article>
  );
}
