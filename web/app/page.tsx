"use client";

import { useSyncExternalStore } from "react";
import { type Run, parseRun } from "@/data/run";
import { Live } from "@/live/Live";
import { isLive } from "@/live/told";
import { Report } from "@/parts/Report";

// The run's JSON lies in the page itself, in an element that React does not own.
let read: { run: Run | null; error: string | null } | undefined;

function stored() {
  if (!read) {
    try {
      read = { run: parseRun(document.getElementById("run")?.textContent ?? ""), error: null };
    } catch (error) {
      read = { run: null, error: String(error) };
    }
  }
  return read;
}

export default function Page() {
  const found = useSyncExternalStore(() => () => {}, stored, () => null);
  if (!found) return <main className="empty">Reading the run. This page needs JavaScript.</main>;
  if (isLive()) return <Live />;
  if (!found.run) {
    return <main className="empty">
      {found.error ? `The run in this page cannot be read: ${found.error}` : "There is no run in this page."}
      {" Write it again with "}<code>quantcheck report FOLDER</code>.
    </main>;
  }
  return <Report run={found.run} />;
}
