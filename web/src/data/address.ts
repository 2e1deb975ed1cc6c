// The state of the page, in the address: `#latency?scale=log&hide=Q2_K`. A link restores it.

import { useCallback, useSyncExternalStore } from "react";

const subscribe = (changed: () => void) => {
  window.addEventListener("hashchange", changed);
  return () => window.removeEventListener("hashchange", changed);
};
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
  const text = query.toString();
  window.location.hash = current + (text ? `?${text}` : "");
}

export function useAddress() {
  const now = useSyncExternalStore(subscribe, hash, none);
  const [view, state] = split(now);
  const go = useCallback((next: string) => {
    const query = split(window.location.hash)[1];
    query.delete("point");  // a point belongs to its view
    const text = query.toString();
    window.location.hash = next + (text ? `?${text}` : "");
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
