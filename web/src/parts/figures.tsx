import { type Format, asCount, figureText, hasInterval } from "@/data/format";
import type { Figure } from "@/data/run";

const SIGNS: Record<string, [string, string]> = {
  safe: ["good", "✓"], ship: ["good", "✓"], faster: ["good", "✓"], cheaper: ["good", "✓"], met: ["good", "✓"],
  "less energy": ["good", "✓"],
  harmed: ["bad", "✗"], "do not ship": ["bad", "✗"], slower: ["bad", "✗"], dearer: ["bad", "✗"],
  "not met": ["bad", "✗"], "more energy": ["bad", "✗"],
  inconclusive: ["open", "?"], open: ["open", "?"], "not comparable": ["open", "≠"],
  "no detectable difference": ["same", "="],
};

/** What stands for a verdict's word where there is no room for it. */
export const signOf = (word: string): string => SIGNS[word]?.[1] ?? "·";

/** A verdict: its word, a sign and a hue, so that no one of them is needed to read it. */
export function Word({ word, more, reason }: { word: string | null; more?: string | null; reason?: string | null }) {
  if (!word) return <Missing reason={reason} />;
  const [kind, sign] = SIGNS[word] ?? ["same", "·"];
  return (
    <span className="verdict">
      <span className={`word ${kind}`}><span aria-hidden="true">{sign}</span> {word}</span>
      {more ? <small>{more}</small> : null}
    </span>
  );
}

/** `~1,300 more items`: a plan, so two digits of it, rounded up; null where there is none. */
export function needs(count: number | null | undefined, unit: string): string | null {
  if (!count) return null;
  const step = 10 ** Math.max(0, String(count).length - 2);
  return `~${asCount(Math.ceil(count / step) * step)} more ${unit}${count === 1 ? "" : "s"}`;
}

/** The same of a ratio paired by block: one block has no spread to plan with. */
export const needsBlocks = (row: { ratio: Figure; more_blocks?: number | null }): string | null =>
  row.ratio.value != null && row.ratio.low == null ? "needs 2 blocks or more" : needs(row.more_blocks, "block");

export function Missing({ reason }: { reason?: string | null }) {
  if (reason === "is the baseline") return <span className="na">baseline</span>;
  return <span className="na">n/a <small>{reason ?? "not measured"}</small></span>;
}

/** A figure with its interval beneath, or `n/a` with the reason. */
export function Fig({ figure, format, below }: { figure: Figure; format: Format; below?: string }) {
  if (figure.value == null) return <Missing reason={figure.reason} />;
  return (
    <span className="figure" title={figureText(figure, format)}>
      <span>{format(figure.value, true, figure)}</span>
      {hasInterval(figure) && figure.low !== figure.high ? <small>{format(figure.low, false, figure)} to {format(figure.high, false, figure)}</small> : null}
      {below ? <small>{below}</small> : null}
    </span>
  );
}
