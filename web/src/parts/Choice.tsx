/** A few choices, one of them taken. */
export function Choice({ label, choices, now, choose }: {
  label: string; choices: [string, string][]; now: string; choose: (key: string) => void;
}) {
  if (choices.length < 2) return null;
  return (
    <div className="labelled">
      <span className="label" aria-hidden="true">{label}</span>
      <div className="choice" role="group" aria-label={label}>
        {choices.map(([key, title]) => (
          <button key={key} type="button" aria-pressed={key === now} onClick={() => choose(key)}>{title}</button>
        ))}
      </div>
    </div>
  );
}
