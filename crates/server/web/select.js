// Which flights the board shows.

const MINUTE = 60_000;
const AHEAD = 60 * MINUTE; // of the replayed day
const BEHIND = 30 * MINUTE;
const RECENT = 15 * MINUTE; // whatever changed since then is shown, too
const AT_LEAST = 20; // rows around now, when the night is quiet
const FOUND_AT_MOST = 100;

export const GROUPS = {
  late: ["late"],
  departed: ["departed"],
  arrived: ["arrived"],
  cancelled: ["cancelled"],
  diverted: ["no_arrival_recorded", "arrived_after_diversion"],
};

/**
 * The rows for a choice of `origin` ("" for all), `view` (now, all or a group's name) and `query`, which looks through
 * the whole day. `more` counts what was left out: flights found past the limit, or around now those long overdue.
 */
export function select(flights, { origin, view, query }) {
  const all = flights.sorted();
  if (query.trim()) return found(all, query);
  const here = origin ? all.filter((flight) => flight.state.origin === origin) : all;
  if (view === "all") return { rows: here, more: 0 };
  if (view !== "now") return { rows: here.filter((flight) => GROUPS[view].includes(flight.state.status)), more: 0 };
  return aroundNow(here, flights.now);
}

/** How many flights each choice of `view` has at this `origin`. */
export function counts(flights, origin) {
  const count = { all: 0, late: 0, departed: 0, arrived: 0, cancelled: 0, diverted: 0 };
  for (const { state } of flights.byKey.values()) {
    if (origin && state.origin !== origin) continue;
    count.all += 1;
    for (const group in GROUPS) if (GROUPS[group].includes(state.status)) count[group] += 1;
  }
  return count;
}

/** Whether a flight has not left yet, as far as is known. */
export function isWaiting({ status }) {
  return status === "scheduled" || status === "late";
}

// What is due within the hour or was due half an hour ago and has not left, and what changed at the gate a moment ago.
function aroundNow(flights, now) {
  const waiting = flights.filter((flight) => isWaiting(flight.state));
  const due = waiting.filter((flight) => flight.scheduled <= now + AHEAD);
  const shown = new Set(due.length < AT_LEAST ? waiting.slice(0, AT_LEAST) : due);
  const recent = ({ state, at }) => ["late", "departed", "cancelled"].includes(state.status) && at > now - RECENT;
  const rows = flights.filter((flight) => recent(flight) || (shown.has(flight) && flight.scheduled >= now - BEHIND));
  const kept = new Set(rows);
  return { rows, more: due.filter((flight) => !kept.has(flight)).length };
}

function found(flights, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const whole = words.join("");
  const hits = flights.filter((flight) => words.every((word) => flight.words.includes(word)) || flight.words.startsWith(whole));
  // A flight's whole number comes before those that only begin with it.
  const exact = ({ key, state }) => key.toLowerCase() === whole || `${state.carrier}${state.number}`.toLowerCase() === whole;
  const rows = [...hits.filter(exact), ...hits.filter((flight) => !exact(flight))];
  return { rows: rows.slice(0, FOUND_AT_MOST), more: Math.max(0, rows.length - FOUND_AT_MOST) };
}
