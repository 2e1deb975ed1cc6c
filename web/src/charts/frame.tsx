import { type ReactNode, createContext, memo, useContext, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Halves } from "./marks";

/** Whether a chart is drawn only while it is near: in a run with so many points that all at once would take long. */
export const Lazy = createContext(false);
const NEAR = "120px";

// One chart a frame, so that the page answers between them; the first after the view itself has been painted.
const waiting: (() => void)[] = [];

function draw() {
  waiting.shift()?.();
  if (waiting.length) setTimeout(() => requestAnimationFrame(draw));
}

function enqueue(show: () => void) {
  if (waiting.push(show) === 1) requestAnimationFrame(() => requestAnimationFrame(draw));
}

/** What a chart shows. While it is far away it stays as it was drawn last: nobody sees it, and to draw it takes time. */
const Drawing = memo(function Drawing({ width, children }: { width: number; live: boolean; children: (width: number) => ReactNode }) {
  return children(width);
}, (_, next) => !next.live);

/** A chart as wide as its place. `children` draws it for a width; narrower paper scales it down. */
export function Chart({ title, height, children, most = 1200 }: {
  title: string; height: number; children: (width: number) => ReactNode; most?: number;
}) {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const lazy = useContext(Lazy);
  // null: it was never near.
  const [near, setNear] = useState<boolean | null>(null);
  // Before the first paint: else the marks would move under a reader's hand a frame later.
  useLayoutEffect(() => {
    if (!place.current) return;
    const fit = (room: number) => setWidth(Math.min(most, Math.floor(room)));
    fit(place.current.getBoundingClientRect().width);
    const watch = new ResizeObserver(([entry]) => fit(entry!.contentRect.width));
    watch.observe(place.current);
    return () => watch.disconnect();
  }, [most]);
  useEffect(() => {
    if (!lazy || !place.current) return;
    let shown = true;
    const watch = new IntersectionObserver(([entry]) => {
      if (entry!.isIntersecting) enqueue(() => { if (shown) setNear(true); });
      else setNear((was) => was === null ? null : false);
    }, { rootMargin: NEAR });
    watch.observe(place.current);
    return () => { shown = false; watch.disconnect(); };
  }, [lazy]);
  const drawn = width || 640;
  const ready = lazy ? near !== null && width > 0 : true;
  return (
    <div className={lazy ? "chart lazy" : "chart"} style={lazy ? { containIntrinsicHeight: height } : undefined} ref={place}>
      <svg viewBox={`0 0 ${drawn} ${height}`} width={drawn} height={height} role="img" aria-label={title}>
        <Halves />
        {ready ? <Drawing width={drawn} live={!lazy || near === true}>{children}</Drawing> : null}
      </svg>
    </div>
  );
}

type Scale = (value: number) => number;

export function XAxis({ scale, ticks, format, y, top, label, from, to }: {
  scale: Scale; ticks: number[]; format: (v: number) => string; y: number; top: number; label?: string;
  from: number; to: number;
}) {
  return (
    <g className="axis">
      {ticks.map((t) => (
        <g key={t} transform={`translate(${scale(t)},0)`}>
          <line y1={top} y2={y} className="grid" />
          <text y={y + 16} textAnchor="middle">{format(t)}</text>
        </g>
      ))}
      <line x1={from} x2={to} y1={y} y2={y} className="base" />
      {label ? <text className="name" x={(from + to) / 2} y={y + 34} textAnchor="middle">{label}</text> : null}
    </g>
  );
}

export function YAxis({ scale, ticks, format, x, right, label }: {
  scale: Scale; ticks: number[]; format: (v: number) => string; x: number; right: number; label?: string;
}) {
  return (
    <g className="axis">
      {ticks.map((t) => (
        <g key={t} transform={`translate(0,${scale(t)})`}>
          <line x1={x} x2={right} className="grid" />
          <text x={x - 7} dy="0.32em" textAnchor="end">{format(t)}</text>
        </g>
      ))}
      {label ? <text className="name" x={0} y={11} textAnchor="start">{label}</text> : null}
    </g>
  );
}

/** A line with a name: an SLO. */
export function Rule({ at, from, to, text }: { at: number; from: number; to: number; text: string }) {
  return <g className="rule"><line x1={from} x2={to} y1={at} y2={at} /><text x={from + 4} y={at - 4}>{text}</text></g>;
}
