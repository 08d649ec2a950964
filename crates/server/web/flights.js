// What the page knows: the latest state of every flight, and the publications of this run that brought it there.

const IDENTITY = [
  "flight", "carrier", "airline", "number", "tailnum",
  "origin", "origin_name", "dest", "dest_city", "dest_name", "scheduled",
];

export class Flights {
  byKey = new Map();
  /** Which run of the day this is; 0 before anything was heard. */
  run = 0;
  /** The moment of the replayed day, in ms since 1970: the latest `at` of this run. */
  now = 0;
  /** How many publications came, those without a flight's state included. */
  heard = 0;
  #sorted = null;

  /** Takes one envelope in. Tells the flight it was about (null: none) and whether a new run began with it. */
  apply({ channel, cursor, time, data }) {
    this.heard += 1;
    const key = channel.slice("flights/".length);
    const known = this.byKey.get(key);
    const state = stateOf(data, known);
    if (!state) return { flight: null, newRun: false };

    const flight = known ?? { key, channel, seen: [] };
    if (known?.state.run !== state.run) flight.seen = [];
    // `heard` numbers what came in over the line, so that the order over all flights can be told, too.
    flight.seen.push({ cursor, time, state, heard: this.heard });
    if (flight.state?.scheduled !== state.scheduled) this.#sorted = null;
    flight.state = state;
    flight.cursor = cursor;
    flight.scheduled = Date.parse(state.scheduled);
    flight.at = Date.parse(state.at) || flight.scheduled;
    flight.words ??= wordsOf(state);
    this.byKey.set(key, flight);

    const newRun = this.run > 0 && state.run > this.run;
    if (state.run > this.run) {
      this.run = state.run;
      this.now = 0;
    }
    if (state.run === this.run && flight.at > this.now) this.now = flight.at;
    return { flight, newRun };
  }

  /** Forgets all: what comes next is the latest of every flight. */
  clear() {
    this.byKey.clear();
    this.#sorted = null;
    this.run = 0;
    this.now = 0;
  }

  /** All flights by scheduled time. */
  sorted() {
    this.#sorted ??= [...this.byKey.values()].sort((a, b) => a.scheduled - b.scheduled || (a.key < b.key ? -1 : 1));
    return this.#sorted;
  }
}

/** A flight's state as published, or null when the publication is none. Anyone may publish on these channels. */
export function stateOf(data, known) {
  if (data === null || typeof data !== "object" || typeof data.status !== "string") return null;
  const state = { ...data, run: Number.isInteger(data.run) ? data.run : (known?.state.run ?? 1) };
  // A hand-made publication need not repeat what names the flight.
  for (const field of IDENTITY) state[field] ??= known?.state[field] ?? null;
  return Number.isNaN(Date.parse(state.scheduled)) || state.scheduled === null ? null : state;
}

/** Whether nothing more can come for this flight in this run. */
export function isOver({ status }) {
  return !["scheduled", "late", "departed"].includes(status);
}

/** The flight that will most likely change soonest, or null. Nothing of the day to come is known here: it is a guess. */
export function likelyNext(flights, but = null) {
  const { now } = flights;
  const soon = (flight) => {
    const { status, run } = flight.state;
    if (flight === but || run !== flights.run || isOver(flight.state)) return Infinity;
    // Late ones are told again after a quarter of an hour or more, or leave: prefer those with the least delay.
    if (status === "late") return (flight.state.late_min ?? 0) - 60;
    if (status === "scheduled") return Math.max(0, flight.scheduled - now) / 60_000;
    return 600;
  };
  let best = null;
  for (const flight of flights.sorted()) if (soon(flight) < (best ? soon(best) : Infinity)) best = flight;
  return best;
}

function wordsOf(state) {
  const { flight, carrier, number, airline, origin, dest, dest_city, dest_name } = state;
  return [`${carrier}${number}`, flight, carrier, number, airline, origin, dest, dest_city, dest_name]
    .join(" ")
    .toLowerCase();
}
