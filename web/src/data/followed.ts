import { startTransition, useEffect, useState } from "react";

/**
 * `value` (memoised by its caller) once what was asked has been painted with its own control: two frames later. Unlike
 * useDeferredValue, whose work begins before the next frame, the control is never kept waiting by the charts.
 */
export function useFollowed<T>(value: T): T {
  const [followed, follow] = useState(value);
  useEffect(() => {
    let frame = requestAnimationFrame(() => { frame = requestAnimationFrame(() => startTransition(() => follow(value))); });
    return () => cancelAnimationFrame(frame);
  }, [value]);
  return followed;
}
