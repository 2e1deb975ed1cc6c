/** Puts a key into the page's address without a step in the browser's history. */
export function stay(key: string, value: string) {
  const [view = "", query = ""] = window.location.hash.replace(/^#/, "").split("?");
  const state = new URLSearchParams(query);
  state.set(key, value);
  window.history.replaceState(null, "", `#${view}?${state}`);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}
