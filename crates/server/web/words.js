// How things are said. All times of the replayed day are New York's.

const NEW_YORK = { timeZone: "America/New_York", hourCycle: "h23" };
const TIME = new Intl.DateTimeFormat("en-GB", { ...NEW_YORK, hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { ...NEW_YORK, weekday: "short", day: "numeric", month: "short", year: "numeric" });

export const BASIS = {
  data: "The record states the fact and its time.",
  derived: "Worked out from the record; true at that moment, and needs no knowledge that the moment did not have.",
  inferred: "The record states the fact, but not when it became known: the time is our choice.",
};

export const timeOfDay = (ms) => TIME.format(ms);
export const day = (ms) => DAY.format(ms);

/** A status in words: `text` for the board, `more` beside it, `tone` for its colour. */
export function status(state) {
  const at = Date.parse(state.at);
  const time = Number.isNaN(at) ? "" : ` ${timeOfDay(at)}`;
  switch (state.status) {
    case "scheduled":
      return { tone: "scheduled", text: "Scheduled", more: "" };
    case "late":
      return { tone: "late", text: state.late_min ? `Late by ${minutes(state.late_min)}` : "Late", more: "at the gate" };
    case "departed":
      return { tone: "departed", text: `Departed${time}`, more: delay(state.dep_delay) };
    case "arrived":
      return { tone: "arrived", text: `Arrived${time}`, more: delay(state.arr_delay) };
    case "cancelled":
      return { tone: "cancelled", text: "Cancelled", more: "" };
    case "no_arrival_recorded":
      return { tone: "diverted", text: "No arrival recorded", more: "diverted, or came back" };
    case "arrived_after_diversion":
      return { tone: "diverted", text: `Arrived${time}`, more: "after a diversion" };
    default:
      return { tone: "scheduled", text: state.status, more: "" };
  }
}

/** One event of a flight's time line, in a sentence. */
export function event(state) {
  switch (state.status) {
    case "scheduled":
      return `On the board, to leave at ${timeOfDay(Date.parse(state.scheduled))}`;
    case "late":
      return `${status(state).text}, still at the gate`;
    case "departed":
      return `Left the gate, ${delay(state.dep_delay) || "delay unknown"}`;
    case "arrived":
      return `At the gate in ${state.dest_city ?? state.dest}, ${delay(state.arr_delay) || "delay unknown"}`;
    case "cancelled":
      return "Cancelled; said at the scheduled time";
    case "arrived_after_diversion":
      return `Arrived in ${state.dest_city ?? state.dest} after a diversion`;
    default: {
      const { text, more } = status(state);
      return more ? `${text}, ${more}` : text;
    }
  }
}

/** The same in a few words. */
export const brief = (state) => event(state).split(/[,;]/, 1)[0];

/** 1234 → "1.23 kB". Decimal units, three digits. */
export function bytes(n) {
  if (n < 1000) return `${n} B`;
  const [value, unit] = n < 1e6 ? [n / 1e3, "kB"] : [n / 1e6, "MB"];
  return `${value.toPrecision(Math.max(3, Math.floor(Math.log10(value)) + 1))} ${unit}`;
}

/** A lateness in ms, as finely as it makes sense. */
export function lateness(ms) {
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

export function plural(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

function delay(n) {
  if (typeof n !== "number") return "";
  if (n === 0) return "on time";
  return n > 0 ? `${minutes(n)} late` : `${minutes(-n)} early`;
}

function minutes(n) {
  if (n < 60) return `${n} min`;
  return n % 60 === 0 ? `${n / 60} h` : `${Math.floor(n / 60)} h ${n % 60} min`;
}
