// The departure board: a window of rows, drawn at most once a frame.

import { arrange, calm, make, perFrame, setText } from "./dom.js";
import { counts, isWaiting, select } from "./select.js";
import { plural, status, timeOfDay } from "./words.js";

const HOLD = 8000; // ms that the rows stand still after the pointer last moved over them
const FRESH = 4; // steps in which a changed row fades
const FADE = 500; // ms for each

export class Board {
  /** What is shown: see `select`. */
  choice = { origin: "", view: "now", query: "" };
  /** The keys of the rows shown, in order. */
  keys = [];

  #flights;
  #open;
  #body;
  #note;
  #rows = new Map();
  #changed = new Set();
  #current = null;
  #heldUntil = 0;
  #holding = 0;
  #fresh = new Set();
  #fading = 0;
  #now = make("tr", { class: "now", "aria-hidden": "true" }, make("td", { colspan: "6" }, make("span")));

  constructor(table, note, flights, open) {
    this.#flights = flights;
    this.#open = open;
    this.#body = table.tBodies[0];
    this.#note = note;
    this.#body.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-key]");
      if (row) this.#open(row.dataset.key);
    });
    this.#body.addEventListener("keydown", (event) => this.#key(event));
    this.#body.addEventListener("focusin", (event) => this.#tabTo(event.target.closest("tr")?.dataset.key));
    // Rows come and go all the time; under somebody's hand they should not slip away.
    for (const kind of ["pointermove", "pointerdown"]) {
      this.#body.addEventListener(kind, () => this.#hold());
    }
    this.#body.addEventListener("pointerleave", () => {
      this.#heldUntil = 0;
      this.draw();
    });
  }

  /** Notes a change of this flight, to be drawn with the next frame. */
  changed(flight) {
    this.#changed.add(flight);
    this.draw();
  }

  choose(change) {
    Object.assign(this.choice, change);
    this.#heldUntil = 0;
    this.draw();
  }

  /** Draws with the next frame. */
  draw = perFrame(() => this.#draw());

  /** Moves the focus to a flight's row, when it is shown. */
  focus(key) {
    this.#rows.get(key)?.button.focus();
  }

  #draw() {
    const { rows, more } = select(this.#flights, this.choice);
    const held = this.choice.view === "now" && !this.choice.query && performance.now() < this.#heldUntil;
    const shown = held ? this.keys.map((key) => this.#flights.byKey.get(key)).filter(Boolean) : [...rows];
    this.#keepFocused(shown);
    const many = this.#changed.size > 100; // a new run, or the first load: nothing to point at
    for (const flight of shown) {
      const row = this.#row(flight);
      const changed = this.#changed.has(flight);
      if (row.drawn !== flight.state) this.#fill(row, flight, changed && !many && row.element.isConnected);
    }
    this.#changed.clear();
    this.keys = shown.map((flight) => flight.key);
    const elements = shown.map((flight) => this.#row(flight).element);
    if (this.choice.view === "now" && !this.choice.query) this.#placeNow(shown, elements);
    arrange(this.#body, elements);
    for (const key of this.#rows.keys()) if (!this.#flights.byKey.has(key)) this.#rows.delete(key);
    if (!this.keys.includes(this.#current)) this.#tabTo(this.keys[0]);
    setText(this.#note, this.#words(shown.length, more));
    this.#count();
  }

  #words(shown, more) {
    if (this.#flights.byKey.size === 0) return "No flight has been published yet.";
    if (this.choice.query) {
      if (shown === 0) return "No flight of the day matches.";
      return `${plural(shown + more, "flight")} of the day${more ? `, ${shown} shown` : ""}.`;
    }
    if (this.choice.view !== "now") return shown === 0 ? "None at the moment." : plural(shown, "flight");
    if (shown === 0 && more === 0) return "Every flight has left. A new run begins when the last one has arrived.";
    const overdue = more ? ` ${plural(more, "flight")} overdue for longer: see Late.` : "";
    return `${plural(shown, "flight")}: due within the hour, or changed a moment ago.${overdue} The search finds all.`;
  }

  // The line between what should have left and what should leave.
  #placeNow(shown, elements) {
    const { now } = this.#flights;
    const at = shown.findIndex((flight) => flight.scheduled > now);
    if (at <= 0) return;
    setText(this.#now.querySelector("span"), timeOfDay(now));
    elements.splice(at, 0, this.#now);
  }

  // The row that has the focus stays, or the keyboard would lose its place.
  #keepFocused(shown) {
    const key = this.#body.contains(document.activeElement) ? this.#current : null;
    const flight = this.#flights.byKey.get(key);
    if (!flight || shown.includes(flight)) return;
    const at = shown.findIndex((other) => other.scheduled > flight.scheduled);
    shown.splice(at < 0 ? shown.length : at, 0, flight);
  }

  #hold() {
    this.#heldUntil = performance.now() + HOLD;
    clearTimeout(this.#holding);
    this.#holding = setTimeout(() => this.draw(), HOLD);
  }

  #count() {
    const count = counts(this.#flights, this.choice.origin);
    for (const element of document.querySelectorAll("[data-count]")) {
      setText(element, count[element.dataset.count] ? String(count[element.dataset.count]) : "");
    }
  }

  #row(flight) {
    let row = this.#rows.get(flight.key);
    if (row) return row;
    const cell = (name, ...children) => make("td", { class: name, role: "cell" }, ...children);
    const button = make("button", { type: "button", class: "code", tabindex: "-1" });
    const [text, more] = [make("b"), make("span")];
    const city = make("span", { class: "city" });
    const dest = make("span", { class: "iata" });
    const basis = make("span", { class: "basis" });
    const element = make(
      "tr",
      { role: "row", "data-key": flight.key, "data-testid": "row" },
      cell("time"), cell("to", make("span", { class: "where" }, city, " ", dest)), cell("number", button), cell("from"),
      cell("status", text, " ", more), cell("known", basis),
    );
    row = { element, button, text, more, city, dest, basis, drawn: null };
    this.#rows.set(flight.key, row);
    return row;
  }

  #fill(row, flight, flash) {
    const { state } = flight;
    const { tone, text, more } = status(state);
    const { element } = row;
    element.dataset.tone = tone;
    element.dataset.status = state.status;
    element.dataset.cursor = flight.cursor;
    element.classList.toggle("gone", !isWaiting(state));
    setText(element.querySelector(".time"), timeOfDay(flight.scheduled));
    setText(row.city, state.dest_city ?? state.dest ?? "");
    setText(row.dest, state.dest ?? "");
    setText(row.button, state.carrier ? `${state.carrier} ${state.number}` : flight.key);
    row.button.setAttribute("aria-label", `${flight.key}, time line`);
    setText(element.querySelector(".from"), state.origin ?? "");
    setText(row.text, text);
    setText(row.more, more);
    setText(row.basis, state.basis ?? "");
    row.basis.dataset.basis = state.basis ?? "";
    row.drawn = state;
    if (!flash) return;
    this.#freshen(element);
    if (calm.matches) return;
    element.querySelector(".status").animate(
      { transform: ["rotateX(80deg)", "rotateX(0)"], opacity: [0.2, 1] },
      { duration: 280, easing: "ease-out" },
    );
  }

  // A changed row stands out and fades in a few steps: a smooth fade would paint the board anew with every frame.
  #freshen(element) {
    element.dataset.fresh = FRESH;
    this.#fresh.add(element);
    this.#fading ||= setInterval(() => {
      for (const row of this.#fresh) {
        row.dataset.fresh -= 1;
        if (row.dataset.fresh > 0) continue;
        delete row.dataset.fresh;
        this.#fresh.delete(row);
      }
      if (this.#fresh.size > 0) return;
      clearInterval(this.#fading);
      this.#fading = 0;
    }, FADE);
  }

  // One row at a time is in the tab order; the arrow keys move between them.
  #tabTo(key) {
    if (key === this.#current || !this.#rows.has(key)) return;
    this.#rows.get(this.#current)?.button.setAttribute("tabindex", "-1");
    this.#rows.get(key).button.setAttribute("tabindex", "0");
    this.#current = key;
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.#hold();
    const at = this.keys.indexOf(this.#current) + step;
    this.focus(this.keys[Math.max(0, Math.min(this.keys.length - 1, at))]);
  }
}
