import { type Format, figureText, hasInterval } from "@/data/format";
import type { Figure } from "@/data/run";

const SIGNS: Record<string, [string, string]> = {
  safe: ["good", "✓"], ship: ["good", "✓"], faster: ["good", "✓"], cheaper: ["good", "✓"], met: ["good", "✓"],
  "less energy": ["good", "✓"],
  harmed: ["bad", "✗"], "do not ship": ["bad", "✗"], slower: ["bad", "✗"], dearer: ["bad", "✗"],
  "not met": ["bad", "✗"], "more energy": ["bad", "✗"],
  inconclusive: ["open", "?"], open: ["open", "?"], "not comparable": ["open", "≠"],
  "no detectable difference": ["same", "="],
};

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

export function Missing({ reason }: { reason?: string | null }) {
  if (reason === "is the baseline") return <span className="na">baseline</span>;
  return <span className="na">n/a <small>{reason ?? "not measured"}</small></span>;
}

/** A figure with its interval beneath, or `n/a` with the reason. */
export function Fig({ figure, format, below }: { figure: Figure; format: Format; below?: string }) {
  if (figure.value == null) return <Missing reason={figure.reason} />;
  return (
    <span className="figure" title={figureText(figure, format)}>
      <span>{format(figure.value)}</span>
      {hasInterval(figure) ? <small>{format(figure.low, false)} to {format(figure.high, false)}</small> : null}
      {below ? <small>{below}</small> : null}
    </span>
  );
}
