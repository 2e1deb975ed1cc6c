// What the server tells, as it tells it. Only the live page asks for anything: report.html has no server behind it.

import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { type Run, parseRun } from "@/data/run";

export type RunLine = {
  name: string; state: "running" | "stopped" | "finished" | "unreadable"; reason: string | null; changed: number;
  experiment: string | null; variants: string[]; stored: number; planned: number; cells_here: boolean;
};
/** Variant, subject, block from 0, and when it was stored (seconds since 1970). */
export type Cell = [string, string, number, number | null];
export type Now = { doing?: string; variant?: string; subject?: string; block?: number; done?: number; of?: number };
export type Told = {
  searched: boolean; folders: string[]; runs: RunLine[];
  run: { name: string; now: Now | null; figures: string | null } | null;
};
export type Cells = { name: string; cells: Cell[] } | null;

/** Whether a server stands behind this page: it says so in the page itself. */
export const isLive = () => document.getElementById("live") !== null;

/** A browser has few connections to one server: a page that nobody sees holds none. */
const subscribe = (changed: () => void) => {
  document.addEventListener("visibilitychange", changed);
  return () => document.removeEventListener("visibilitychange", changed);
};
const isSeen = () => document.visibilityState !== "hidden";

/** The runs, and the cells of the one that is shown, as they change. */
export function useTold(run: string | null): { told: Told | null; cells: Cells; lost: boolean } {
  const [told, setTold] = useState<Told | null>(null);
  const [cells, setCells] = useState<Cells>(null);
  const [lost, setLost] = useState(false);
  const seen = useSyncExternalStore(subscribe, isSeen, isSeen);
  useEffect(() => {
    if (!seen) return;
    const source = new EventSource(run === null ? "events" : `events?${new URLSearchParams({ run })}`);
    source.onmessage = (event: MessageEvent<string>) => {
      setLost(false);
      setTold(JSON.parse(event.data) as Told);
    };
    source.addEventListener("cells", (event: MessageEvent<string>) => setCells(JSON.parse(event.data) as Cells));
    source.onopen = () => setLost(false);
    source.onerror = () => setLost(true);
    return () => source.close();
  }, [run, seen]);
  return { told, cells, lost };
}

export type Answer<T> = { of: string; value: T | null; reason: string | null };

/** What lies at `address`, asked for again when `version` changes; meanwhile the old answer stands. */
export function useAnswer<T>(address: string | null, version: string, read: (text: string) => T | null): Answer<T> | null {
  const [answer, setAnswer] = useState<Answer<T> | null>(null);
  const reader = useRef(read);
  useEffect(() => {
    if (address === null) return;
    const abort = new AbortController();
    const give = (value: T | null, reason: string | null) => setAnswer({ of: address, value, reason });
    (async () => {
      const response = await fetch(address, { signal: abort.signal });
      const text = await response.text();
      if (response.ok) give(reader.current(text), null);
      else give(null, (JSON.parse(text) as { reason: string }).reason);
    })().catch((error: unknown) => {
      // What was read before stands: the bar says that the server is gone.
      if (!abort.signal.aborted) {
        setAnswer((old) => old?.of === address && old.value !== null ? old
          : { of: address, value: null, reason: `the server did not answer (${String(error)})` });
      }
    });
    return () => abort.abort();
  }, [address, version]);
  return answer?.of === address ? answer : null;
}

export const useSummary = (run: string | null, version: string): Answer<Run> | null =>
  useAnswer(run === null ? null : `summary?${new URLSearchParams({ run })}`, version, parseRun);

/** `running, 3 of 24 cells`. */
export function stateText(run: RunLine): string {
  if (run.state === "unreadable") return "cannot be read";
  if (!run.cells_here) return "report only, without its cells";
  const cells = `${run.stored.toLocaleString("en-US")} of ${run.planned.toLocaleString("en-US")} cells`;
  return run.stored === run.planned && run.state === "finished" ? `finished, ${run.stored.toLocaleString("en-US")} cells`
    : `${run.state}, ${cells}`;
}
