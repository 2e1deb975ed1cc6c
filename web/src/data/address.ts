// The state of the page, in the address: `#latency?scale=log&hide=Q2_K`. A link restores it.

import { useCallback, useSyncExternalStore } from "react";

const told = new Set<() => void>();

const subscribe = (changed: () => void) => {
  told.add(changed);
  window.addEventListener("hashchange", changed);
  return () => {
    told.delete(changed);
    window.removeEventListener("hashchange", changed);
  };
};

/** To another state, with a way back. To write `location.hash` would do, but its event comes a frame or two later. */
function move(view: string, query: URLSearchParams) {
  const text = query.toString();
  const next = `#${view}${text ? `?${text}` : ""}`;
  if (next === window.location.hash) return;
  try {
    window.history.pushState(null, "", next);
  } catch {
    window.location.hash = next;  // a browser that lets no file change its address so
  }
  told.forEach((changed) => changed());
}
const hash = () => window.location.hash;
const none = () => "";

function split(text: string): [string, URLSearchParams] {
  const [view = "", query = ""] = text.replace(/^#/, "").split("?");
  return [view, new URLSearchParams(query)];
}

export function setState(key: string, value: string | null) {
  const [current, query] = split(window.location.hash);
  if (value === null || value === "") query.delete(key);
  else query.set(key, value);
  move(current, query);
}

export function useAddress() {
  const now = useSyncExternalStore(subscribe, hash, none);
  const [view, state] = split(now);
  const go = useCallback((next: string) => {
    const query = split(window.location.hash)[1];
    query.delete("point");  // a point belongs to its view
    move(next, query);
  }, []);
  return { view, get: (key: string) => state.get(key), set: setState, go };
}

/** Variants that the reader has taken out of the charts, by name. */
export function useHidden(): [Set<string>, (name: string) => void] {
  const { get } = useAddress();
  const hidden = new Set((get("hide") ?? "").split(",").filter(Boolean).map(decodeURIComponent));
  const toggle = (name: string) => {
    const next = new Set(hidden);
    if (!next.delete(name)) next.add(name);
    setState("hide", [...next].map(encodeURIComponent).join(","));
  };
  return [hidden, toggle];
}
