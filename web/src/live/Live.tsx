"use client";

import { useEffect } from "react";
import { useAddress } from "@/data/address";
import { Report } from "@/parts/Report";
import { Against } from "./Against";
import { Bar } from "./Bar";
import { Runs } from "./runs";
import { stay } from "./stay";
import { useSummary, useTold } from "./told";
import "./live.css";

const MORE = [{ key: "against", title: "A against B", View: Against }];

/** The report of the run that is picked, kept up to date, with the other runs a choice away. */
export function Live() {
  const { get } = useAddress();
  const asked = get("run");
  const { told, cells, lost } = useTold(asked);
  const run = told?.runs.find((r) => r.name === asked) ?? null;
  const has = run !== null && run.state !== "unreadable" && (run.stored > 0 || !run.cells_here);
  const own = told?.run?.name === asked ? told?.run ?? null : null;
  // A new run in the list does not take the reader away: what is shown stays in the address.
  const first = (told?.runs.find((r) => r.state !== "unreadable") ?? told?.runs[0])?.name;
  useEffect(() => { if (asked === null && first !== undefined) stay("run", first); }, [asked, first]);
  const answer = useSummary(has ? asked : null, own?.figures ?? "");

  return (
    <Runs value={{ runs: told?.runs ?? [], shown: asked }}>
      <Bar told={told} run={run} own={own} cells={cells?.name === asked ? cells.cells : null} lost={lost} />
      {answer?.value ? <Report run={answer.value} more={MORE} />
        : <main className="empty"><h1>quantcheck</h1><p role="status">{why()}</p></main>}
    </Runs>
  );

  function why(): string {
    if (!told) return lost ? "The server does not answer." : "Asking the server.";
    if (!told.searched) return `Looking for runs in ${told.folders.join(", ")}.`;
    if (!told.runs.length) return `There is no run in ${told.folders.join(", ")} yet: \`quantcheck run\` makes one, and it appears here.`;
    if (asked !== null && !run) return `There is no run named ${asked} here (any more): pick another one.`;
    if (run?.reason) return `This run cannot be shown: ${run.reason}.`;
    if (run && !has) return run.state === "running" ? "No cell is stored yet: figures appear with the first one." : "No cell of this run is stored.";
    if (answer?.reason) return `This run cannot be shown: ${answer.reason}.`;
    return "Reading the stored cells.";
  }
}
