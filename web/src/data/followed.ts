import { startTransition, useEffect, useState } from "react";

/** Frames that a control has for itself: the one that shows what was asked, and two in which the next input is taken. */
const FRAMES = 3;

/**
 * `value` (memoised by its caller) some frames later, so that a control has answered before the charts are drawn. With
 * useDeferredValue their work would begin before the next frame and keep it waiting.
 */
export function useFollowed<T>(value: T): T {
  const [followed, follow] = useState(value);
  useEffect(() => {
    let frame = 0;
    const wait = (left: number) => { frame = requestAnimationFrame(left > 1 ? () => wait(left - 1) : () => startTransition(() => follow(value))); };
    wait(FRAMES);
    return () => cancelAnimationFrame(frame);
  }, [value]);
  return followed;
}
