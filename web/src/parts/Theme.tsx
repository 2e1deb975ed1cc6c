import { useEffect, useState } from "react";

const CHOICES = ["auto", "light", "dark"] as const;

/** The reader's choice of colours; `auto` follows the system. It lives as long as the page is open. */
export function Theme() {
  const [choice, setChoice] = useState<(typeof CHOICES)[number]>("auto");
  useEffect(() => {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
  }, [choice]);
  return (
    <div className="choice" role="group" aria-label="Colours">
      {CHOICES.map((name) => (
        <button key={name} type="button" aria-pressed={choice === name} onClick={() => setChoice(name)}>{name}</button>
      ))}
    </div>
  );
}
