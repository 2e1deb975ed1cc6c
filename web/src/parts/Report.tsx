import { type KeyboardEvent, useEffect, useState } from "react";
import { flushSync } from "react-dom";
import { useAddress } from "@/data/address";
import type { Run } from "@/data/run";
import { VIEWS } from "@/views";
import { Lazy } from "@/charts/frame";
import { Theme } from "./Theme";

/** Points of one chart's axis, all variants and loads: beyond it charts are drawn when they come near. */
const MANY = 60;

/** On paper every view is shown, one after the other. */
function usePrinting() {
  const [printing, setPrinting] = useState(false);
  useEffect(() => {
    const begin = () => flushSync(() => setPrinting(true));
    const end = () => setPrinting(false);
    window.addEventListener("beforeprint", begin);
    window.addEventListener("afterprint", end);
    return () => {
      window.removeEventListener("beforeprint", begin);
      window.removeEventListener("afterprint", end);
    };
  }, []);
  return printing;
}

const hardware = (run: Run) => {
  const { gpus, cpu } = run.environment as { gpus?: { name?: string }[]; cpu?: string };
  const names = gpus?.map((gpu) => gpu.name ?? "a GPU") ?? [];
  const told = [...new Set(names)].map((name) => {
    const count = names.filter((other) => other === name).length;
    return count > 1 ? `${count} x ${name}` : name;
  });
  return told.length ? told.join(", ") : cpu;
};

type Views = typeof VIEWS;
const NONE: Views = [];

/** `more`: views that are no part of a report. */
export function Report({ run, more = NONE }: { run: Run; more?: Views }) {
  const { view, go } = useAddress();
  const views = [...VIEWS, ...more];
  const printing = usePrinting();
  const current = views.find((v) => v.key === view) ?? views[0]!;
  const { name, model, engine } = run.experiment;

  useEffect(() => {
    document.getElementById(`tab-${current.key}`)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [current.key]);
  useEffect(() => { document.title = `${name}: quantcheck`; }, [name]);

  const walk = (event: KeyboardEvent) => {
    // From the tab that has the focus: the address may lag behind a key that is held.
    const at = views.findIndex((v) => `tab-${v.key}` === (event.target as HTMLElement).id);
    const step = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: views.length - 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = views[(step + views.length) % views.length]!;
    go(next.key);
    document.getElementById(`tab-${next.key}`)?.focus();
  };

  return (
    <>
      <header className="top">
        <div>
          <p className="brand">quantcheck</p>
          <h1>{name}</h1>
          <p className="facts">
            {[model === name ? null : model, engine, hardware(run)].filter(Boolean).map((fact, i) => (
              <span key={i}>{fact}</span>
            ))}
          </p>
        </div>
        <Theme />
      </header>
      <nav aria-label="Views">
        <div role="tablist" aria-label="Views" onKeyDown={walk}>
          {views.map(({ key, title }) => (
            <button key={key} id={`tab-${key}`} role="tab" type="button" aria-selected={key === current.key}
              aria-controls={`view-${key}`} tabIndex={key === current.key ? 0 : -1} onClick={() => go(key)}>
              {title}
            </button>
          ))}
        </div>
      </nav>
      <main>
        {views.filter((v) => printing || v === current).map(({ key, title, View }) => (
          <section key={key} id={`view-${key}`} role="tabpanel" aria-labelledby={`tab-${key}`} tabIndex={0}>
            <h2 className={key === current.key ? "paper" : "paper break"}>{title}</h2>
            <Lazy value={!printing && run.loads.length > MANY}><View run={run} /></Lazy>
          </section>
        ))}
      </main>
      <footer>
        Differences and ratios are against <b>{run.experiment.baseline}</b>; intervals are 95%. A figure without an
        interval has none that its data support.
      </footer>
    </>
  );
}
