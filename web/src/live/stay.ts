/**
 * Puts a key into the page's address without a step in the browser's history. One that is there stands: the reader may
 * have asked for it a moment ago, and the event that says so comes later.
 */
export function stay(key: string, value: string) {
  const [view = "", query = ""] = window.location.hash.replace(/^#/, "").split("?");
  const state = new URLSearchParams(query);
  if (state.has(key)) return;
  state.set(key, value);
  window.history.replaceState(null, "", `#${view}?${state}`);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}
