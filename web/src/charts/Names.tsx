/** A mark and what is written beside it. */
export type Spot = { key: string; text: string; x: number; y: number };
type Name = Spot & { end: boolean };
export type Box = [left: number, right: number, top: number, bottom: number];

/** More marks than this have no room for names. */
const NAMED = 30;

/** Each mark's name on the side where it hides no mark and no other name, and nothing that is `busy` if that can be; where
 * there is no such side, no name: a pick tells it. */
function placed(spots: Spot[], busy: Box[]): Name[] {
  const taken = spots.map(({ x, y }): Box => [x - 6, x + 6, y - 6, y + 6]);
  return spots.flatMap((spot) => {
    const tried = [-7, 15].flatMap((dy) => [false, true].map((end): Name => ({ ...spot, end, x: spot.x + (end ? -7 : 7), y: spot.y + dy })));
    const box = ({ text, x, y, end }: Name): Box => [end ? x - 7 * text.length : x, end ? x : x + 7 * text.length, y - 9, y + 1];
    const clear = (of: Box[]) => (name: Name) => of.every(([a, b, c, d]) => {
      const [e, f, g, h] = box(name);
      return f < a || e > b || h < c || g > d;
    });
    const found = tried.find(clear([...taken, ...busy])) ?? tried.find(clear(taken));
    if (found) taken.push(box(found));
    return found ?? [];
  });
}

/** Drawn after all marks, so that none of them covers a name. */
export const Names = ({ spots, busy = [] }: { spots: Spot[]; busy?: Box[] }) => spots.length > NAMED ? null
  : placed(spots, busy).map(({ key, text, x, y, end }) => <text key={key} className="load" x={x} y={y} textAnchor={end ? "end" : "start"}>{text}</text>);
