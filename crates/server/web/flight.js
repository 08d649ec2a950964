// One flight: what it is, and its time line in this run of the day.

import { make, perFrame } from "./dom.js";
import { stateOf } from "./flights.js";
import { BASIS, event, status, timeOfDay } from "./words.js";

export class FlightPanel {
  /** The key of the flight shown, or null. */
  key = null;

  #root;
  #flights;
  #on;
  #before = []; // what the server's history told of this flight
  #asked = null;

  /** `on` has `followed()`, which tells the key that the lanes follow, `follow(key)` and `close()`. */
  constructor(root, flights, on) {
    this.#root = root;
    this.#flights = flights;
    this.#on = on;
  }

  /** Shows a flight; `start` is the oldest cursor from which the page can ask for its history. */
  open(key, start) {
    this.#asked?.abort();
    this.key = key;
    this.#before = [];
    this.#root.hidden = false;
    this.#draw();
    this.#ask(start);
  }

  close() {
    this.#asked?.abort();
    this.key = null;
    this.#root.hidden = true;
    this.#root.replaceChildren();
  }

  focus() {
    this.#root.querySelector("h2")?.focus();
  }

  /** Draws anew with the next frame. */
  draw = perFrame(() => this.#draw());

  #draw() {
    const flight = this.#flights.byKey.get(this.key);
    if (!flight) return;
    const { state } = flight;
    const { tone, text, more } = status(state);
    const button = (name, words, action) => {
      const made = make("button", { type: "button", class: name, "data-testid": `flight-${name}` }, words);
      made.addEventListener("click", action);
      return made;
    };
    const focused = this.#root.contains(document.activeElement) ? document.activeElement.className : null;
    this.#root.dataset.key = flight.key;
    this.#root.dataset.tone = tone;
    this.#root.replaceChildren(
      make("header", {},
        make("div", {},
          make("h2", { id: "flight-title", tabindex: "-1", class: "title" },
            make("span", { class: "code" }, `${state.carrier ?? ""} ${state.number ?? flight.key}`.trim()),
            " ", make("span", { class: "route" }, `${state.origin ?? "?"} → ${state.dest_city ?? state.dest ?? "?"}`)),
          make("p", { class: "note" }, [state.airline, state.tailnum].filter(Boolean).join(" · ")),
        ),
        button("close", "Close", () => this.#on.close()),
      ),
      make("p", { class: "headline", "data-testid": "flight-status" }, make("b", {}, text), more ? ` ${more}` : ""),
      this.#timeLine(flight),
      this.#on.followed() === flight.key
        ? make("p", { class: "note" }, "Followed in three ways.")
        : make("div", { class: "buttons" }, button("follow", "Follow in three ways", () => this.#on.follow(flight.key))),
      make("p", { class: "note terminal" }, "From a terminal: ",
        make("code", {}, `curl -N -H 'Accept: text/event-stream' ${location.origin}/channels/${flight.channel}`)),
    );
    if (focused !== null) (this.#root.querySelector(`.${focused || "title"}`) ?? this.#root).focus();
  }

  #timeLine(flight) {
    const list = make("ol", { class: "timeline", "data-testid": "timeline" });
    const events = this.#events(flight);
    if (events[0].state.status !== "scheduled") {
      list.append(make("li", { class: "note" }, "What came before was published before this page could ask for it."));
    }
    for (const { cursor, state } of events) {
      const { tone } = status(state);
      const at = Date.parse(state.at);
      list.append(
        make("li", { "data-tone": tone, "data-status": state.status, "data-cursor": cursor },
          make("time", {}, Number.isNaN(at) ? "" : timeOfDay(at)),
          make("span", { class: "what" }, event(state)),
          state.basis ? make("span", { class: "basis", "data-basis": state.basis, title: BASIS[state.basis] ?? "" }, state.basis) : "",
        ),
      );
    }
    return list;
  }

  // The history and what the line has brought since, each publication once.
  #events(flight) {
    const known = new Set(this.#before.map(({ cursor }) => cursor));
    return [...this.#before, ...flight.seen.filter(({ cursor }) => !known.has(cursor))].filter(
      ({ state }) => state.run === flight.state.run,
    );
  }

  async #ask(start) {
    const flight = this.#flights.byKey.get(this.key);
    if (!flight || start === null) return;
    this.#asked = new AbortController();
    const { signal } = this.#asked;
    try {
      const url = `/channels/${flight.channel}?since=${encodeURIComponent(start)}&limit=1000`;
      const answer = await fetch(url, { cache: "no-store", signal });
      if (!answer.ok) return;
      const { publications } = await answer.json();
      if (signal.aborted) return;
      this.#before = publications
        .map(({ cursor, time, data }) => ({ cursor, time, state: stateOf(data, flight) }))
        .filter(({ state }) => state !== null);
      this.draw();
    } catch {
      // Away or aborted: the time line shows what the line itself has brought.
    }
  }
}
