import { useAddress } from "@/data/address";
import { Cells, placeOf } from "./Cells";
import { type Cell, type Now, type RunLine, type Told, stateText } from "./told";

/** `now: Q8_0, chat@c8, block 2`. */
function nowText(now: Now | null): string | null {
  if (!now) return null;
  if (now.doing) return now.doing;
  const share = now.of && now.of > 1 ? `${now.done} of ${now.of}` : null;
  return [now.variant, now.subject, `block ${(now.block ?? 0) + 1}`, share].filter(Boolean).join(", ");
}

/** Above the report: which run, and how far it is. */
export function Bar({ told, run, own, cells, lost }: {
  told: Told | null; run: RunLine | null; own: Told["run"]; cells: Cell[] | null; lost: boolean;
}) {
  const { get, set } = useAddress();
  const asked = get("run");
  const runs = told?.runs ?? [];
  const now = run?.state === "running" ? nowText(own?.now ?? null) : null;
  return (
    <section className="live" aria-label="Stored runs">
      <div className="live-line">
        <span>
          <label htmlFor="live-run">Run</label>{" "}
          <select id="live-run" value={run?.name ?? ""} onChange={(event) => set("run", event.target.value)} disabled={!runs.length}>
            {run ? null : <option value="">{asked ?? "none"}</option>}
            {runs.map((r) => <option key={r.name} value={r.name}>{r.name}: {stateText(r)}</option>)}
          </select>
        </span>
        {run?.state === "running" ? (
          <span className="live-now">
            <progress aria-label="Cells stored" max={run.planned || 1} value={run.stored} />
            <span>{run.stored} of {run.planned} cells{now ? <> · <b>now:</b> {now}</> : null}</span>
          </span>
        ) : null}
        <span role="status" className={lost ? "live-lost" : undefined}>
          {lost ? "The server does not answer; trying again. What is shown may be old." : ""}
        </span>
      </div>
      {run?.cells_here && cells?.length
        ? <Cells key={run.name} cells={cells} now={run.state === "running" ? placeOf(own?.now) : null} open={run.state === "running"} /> : null}
    </section>
  );
}
