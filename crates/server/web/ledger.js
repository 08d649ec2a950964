// What the three lanes cost and what they learnt, side by side.

import { arrange, make, perFrame, setText } from "./dom.js";
import { isOver, likelyNext } from "./flights.js";
import { brief, bytes, lateness, plural, status, timeOfDay } from "./words.js";

const DOING = {
  asking: "asking",
  held: "held",
  pausing: "pausing",
  live: "open",
  waiting: "trying again",
  stopped: "stopped",
};
const NAMES = { poll: "polling", "long-poll": "long polling", ws: "the WebSocket" };
const TOTALS = [
  ["doing", "Now", (lane) => (lane.gaps ? `${DOING[lane.doing]}, after a gap` : DOING[lane.doing])],
  ["requests", "Requests", (lane) => lane.meter?.requests.toLocaleString("en") ?? "–"],
  ["bytes_up", "Bytes up", (lane) => (lane.meter ? bytes(lane.meter.bytes_up) : "–")],
  ["bytes_down", "Bytes down", (lane) => (lane.meter ? bytes(lane.meter.bytes_down) : "–")],
  ["learnt", "Changes learnt", (lane) => String(lane.changes.size)],
  ["median", "Late, median", (lane) => middle(lane.latenesses())],
  ["worst", "Late, worst", (lane) => last(lane.latenesses())],
];

export class Ledger {
  #lanes;
  #flights;
  #clock;
  #totals = new Map();
  #rows = new Map();
  #part = (id) => document.getElementById(id);

  constructor(lanes, flights, clock) {
    this.#lanes = lanes;
    this.#flights = flights;
    this.#clock = clock;
    for (const [field, words] of TOTALS) {
      const cells = ["poll", "long-poll", "ws"].map((lane) => make("td", { "data-lane": lane, "data-field": field }));
      this.#totals.set(field, cells);
      this.#part("lane-totals").append(make("tr", {}, make("th", { scope: "row" }, words), ...cells));
    }
  }

  /** Draws with the next frame. */
  draw = perFrame(() => this.#draw());

  #draw() {
    const { lanes, key, running } = this.#lanes;
    const flight = this.#flights.byKey.get(key);
    setText(this.#part("lanes-flight"), flight?.state.carrier ? `${flight.state.carrier} ${flight.state.number}` : (key ?? ""));
    setText(this.#part("lanes-stop"), running ? "Stop" : "Start");
    this.#part("lanes-stop").hidden = !flight;
    this.#part("lanes").dataset.key = key ?? "";
    this.#part("lanes").dataset.doing = running ? "running" : "stopped";
    setText(this.#part("lanes-what"), this.#what(flight));
    for (const [field, , words] of TOTALS) {
      lanes.forEach((lane, i) => {
        const cell = this.#totals.get(field)[i];
        setText(cell, words(lane));
        if (field === "doing") cell.dataset.doing = lane.doing;
      });
    }
    this.#drawChanges();
    setText(this.#part("lanes-sum"), this.#sum());
    setText(this.#part("lanes-fine"), this.#fine());
  }

  #what(flight) {
    if (!flight) return "The same flight, followed at the same time in three ways.";
    const { text, more } = status(flight.state);
    const now = `${flight.state.origin} → ${flight.state.dest_city ?? flight.state.dest}: ${text}${more ? `, ${more}` : ""}.`;
    if (!isOver(flight.state)) return now;
    const next = likelyNext(this.#flights, flight);
    return `${now} Nothing more will come for it in this run${next ? "; take another flight" : ""}.`;
  }

  #drawChanges() {
    const { lanes } = this.#lanes;
    const all = new Map();
    for (const lane of lanes) for (const [cursor, change] of lane.changes) if (!all.has(cursor)) all.set(cursor, change);
    // By the time of publication, the latest first; a lane that hears sooner must not decide the order.
    const cursors = [...all.keys()].sort((a, b) => (all.get(a).time < all.get(b).time ? 1 : -1));
    for (const cursor of this.#rows.keys()) if (!all.has(cursor)) this.#rows.delete(cursor);
    for (const cursor of cursors) {
      let row = this.#rows.get(cursor);
      if (!row) {
        const { state } = all.get(cursor);
        const at = Date.parse(state?.at);
        row = make("tr", { "data-cursor": cursor },
          make("th", { scope: "row" },
            make("time", {}, Number.isNaN(at) ? "" : timeOfDay(at)), " ",
            typeof state?.status === "string" ? brief(state) : "A publication that is no flight's state"),
          ...lanes.map((lane) => make("td", { "data-lane": lane.id })));
        this.#rows.set(cursor, row);
      }
      lanes.forEach((lane, i) => {
        const cell = row.cells[i + 1];
        const change = lane.changes.get(cursor);
        setText(cell, !change ? "not yet" : change.late === null ? "learnt" : lateness(change.late));
        cell.dataset.learnt = change ? "yes" : "no";
      });
    }
    const rows = cursors.map((cursor) => this.#rows.get(cursor));
    arrange(this.#part("lane-changes"), rows);
    this.#part("lane-changes").dataset.agree = String(cursors.every((cursor) => lanes.every((lane) => lane.changes.has(cursor))));
  }

  // One sentence for the lanes that have learnt all, and one for each that is behind: what it cost so far is not the price.
  #sum() {
    const { lanes } = this.#lanes;
    if (lanes.length === 0) return "";
    if (lanes.some((lane) => !lane.meter)) return "Measuring …";
    const most = Math.max(...lanes.map(({ meter }) => meter.learnt));
    const times = ({ requests }) => (requests === 1 ? "once" : `${requests.toLocaleString("en")} times`);
    const moved = (meter) => bytes(meter.bytes_up + meter.bytes_down);
    const level = lanes.filter(({ meter }) => meter.learnt === most);
    const costs = level.map(({ id, meter }, i) =>
      `${NAMES[id]} ${i === 0 ? "asked " : ""}${times(meter)}${i === 0 ? " and moved" : ","} ${moved(meter)}`);
    const behind = lanes.filter((lane) => !level.includes(lane)).map(({ id, meter, changes }) => {
      const name = `${NAMES[id][0].toUpperCase()}${NAMES[id].slice(1)}`;
      if (changes.size >= most) return ` ${name} has just learnt ${most === 1 ? "it" : "them"}; measuring …`;
      const stand = most === 1 ? "has not learnt it yet" : `has learnt ${changes.size} of them`;
      return ` ${name} ${stand}: asked ${times(meter)}, ${moved(meter)}.`;
    });
    return `${most === 0 ? "No change yet" : `To learn ${plural(most, "change")}`}: ${costs.join("; ")}.${behind.join("")}`;
  }

  #fine() {
    const { error, offset } = this.#clock;
    if (error === Infinity) return "";
    const unmeasured = this.#lanes.lanes.some((lane) => lane.latenesses().length < lane.changes.size)
      ? " “learnt” alone: published before all three stood, after a gap, or while this page was hidden."
      : "";
    return "Requests and bytes are the server's own count on each lane's connections. Lateness is from publication to this page; " +
      `the clocks differ by ${Math.abs(offset).toFixed(1)} ms, known to ± ${Math.max(error, 0.5).toFixed(1)} ms.${unmeasured}`;
  }
}

function middle(sorted) {
  if (sorted.length === 0) return "–";
  const half = sorted.length >> 1;
  return lateness(sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2);
}

function last(sorted) {
  return sorted.length === 0 ? "–" : lateness(sorted.at(-1));
}
