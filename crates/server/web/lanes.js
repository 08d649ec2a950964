// Three lanes that follow one channel from one cursor: by polling, by long polling and by WebSocket. Each asks with a
// meter of its own, so that the server can say what it cost.

import { Line } from "./line.js";

const WAIT = 25; // seconds that the server may hold a long poll
const METERS_EVERY = 1000; // ms
const KEPT = 60_000; // ms of trace
const BEHIND = 10_000; // ms after which a socket that has not brought what the others know is taken for dead
const CHANGES = 100; // kept for each lane

export class Lane {
  /**
   * What it has learnt: cursor → { state (what was published), time, late (ms; null: not measured), learnt (by
   * `performance.now()`) }.
   */
  changes = new Map();
  /** Publications that came a second time; there should be none. */
  doubles = 0;
  /** How often the server could not bring all that came after the lane's cursor. */
  gaps = 0;
  /**
   * As the server counted on this lane's connections, with `learnt`, how many changes the lane had learnt when it was
   * asked; null before a reading that has seen the lane's first bytes.
   */
  meter = null;
  /** asking, held, pausing, live, waiting (for the next attempt) or stopped. */
  doing = "stopped";
  /** The last minute: spans { from, to, news, failed }, by `performance.now()`; `to` is null while it lasts. */
  spans = [];
  /** The last minute: { published, learnt }, by `performance.now()`. */
  dots = [];

  #race;

  /** `race.began` is the server's time from which latenesses are measured; `prefix` makes the meter's name this page's own. */
  constructor(id, prefix, race) {
    this.#race = race;
    this.id = id;
    this.meterName = `${prefix}-${id}`;
  }

  /** The latenesses in ms, ascending. */
  latenesses() {
    return [...this.changes.values()].filter((change) => change.late !== null).map((change) => change.late).sort((a, b) => a - b);
  }

  /**
   * Takes a publication in. Not measured is what was published before all lanes stood, what follows a gap, and what
   * comes while nobody looks: a browser lets the timers of a hidden page sleep.
   */
  learn({ cursor, time, data }, clock, afterGap) {
    if (this.changes.has(cursor)) {
      this.doubles += 1;
      return;
    }
    const now = performance.now();
    const published = Date.parse(time);
    const measured = !afterGap && !document.hidden && published >= this.#race.began;
    const late = measured ? Math.max(0, clock.now() - published) : null;
    this.changes.set(cursor, { state: data, time, late, learnt: now });
    if (this.changes.size > CHANGES) this.changes.delete(this.changes.keys().next().value);
    if (measured) this.dots.push({ published: now - late, learnt: now });
    const span = this.spans.at(-1);
    if (span) span.news += 1;
  }

  begin() {
    const now = performance.now();
    this.spans = this.spans.filter(({ to }) => to === null || to > now - KEPT);
    this.dots = this.dots.filter(({ learnt }) => learnt > now - KEPT);
    this.spans.push({ from: now, to: null, news: 0, failed: false });
  }

  end(failed = false) {
    const span = this.spans.at(-1);
    if (span && span.to === null) Object.assign(span, { to: performance.now(), failed });
  }
}

export class Lanes {
  /** The flight's key, or null. */
  key = null;
  lanes = [];
  /** ms from one poll to the next. */
  interval = 2000;

  #clock;
  #changed;
  #stop = null;

  /** `changed()` is called whenever there is something new to show. */
  constructor(clock, changed) {
    this.#clock = clock;
    this.#changed = changed;
  }

  get running() {
    return this.#stop !== null;
  }

  /** Starts three new lanes on a flight's channel, all from this cursor. */
  follow(flight, cursor) {
    this.stop();
    const prefix = [...crypto.getRandomValues(new Uint8Array(6))].map((n) => n.toString(16).padStart(2, "0")).join("");
    const race = { began: Infinity };
    this.lanes = ["poll", "long-poll", "ws"].map((id) => new Lane(id, prefix, race));
    this.key = flight.key;
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    const [poll, longPoll, socket] = this.lanes;
    const path = `/channels/${flight.channel}`;
    this.#ask(poll, path, cursor, signal, 0);
    this.#ask(longPoll, path, cursor, signal, WAIT);
    this.#listen(socket, path, cursor, signal, race);
    this.#readMeters(this.lanes, signal);
    this.#changed();
  }

  // Checking by a request of its own, as the board's line does, would be a cost of this lane that no meter shows.
  #checkSocket(lane, line) {
    const old = performance.now() - BEHIND;
    const behind = (other) => [...other.changes].some(([cursor, { learnt }]) => learnt < old && !lane.changes.has(cursor));
    if (this.lanes.some(behind)) line.cut("the line went silent");
  }

  stop() {
    this.#stop?.abort();
    this.#stop = null;
    for (const lane of this.lanes) this.#do(lane, "stopped");
  }

  // Polling, or with `wait` seconds long polling: ask for all that came since, again and again.
  async #ask(lane, path, cursor, signal, wait) {
    const headers = wait ? { Prefer: `wait=${wait}` } : {};
    let failures = 0;
    while (!signal.aborted) {
      const url = `${path}?since=${encodeURIComponent(cursor)}&meter=${lane.meterName}`;
      const asked = performance.now();
      lane.begin();
      this.#do(lane, wait ? "held" : "asking");
      try {
        const answer = await fetch(url, { headers, cache: "no-store", signal });
        if (!answer.ok) throw new Refusal(answer);
        const { publications, cursor: next, recovered } = await answer.json();
        if (!recovered) lane.gaps += 1;
        for (const publication of publications) lane.learn(publication, this.#clock, !recovered);
        cursor = next;
        failures = 0;
        lane.end();
        this.#do(lane, wait ? "asking" : "pausing");
        // A long poll is asked anew at once, unless the server did not hold it.
        const every = wait ? (publications.length > 0 ? 0 : 1000) : this.interval;
        await sleep(every - (performance.now() - asked), signal);
      } catch (error) {
        if (signal.aborted) return;
        lane.end(true);
        this.#do(lane, "waiting");
        failures += 1;
        const backOff = Math.min(500 * 2 ** failures, 15_000) * (0.5 + Math.random() / 2);
        await sleep(Math.max(error.retryAfter ?? 0, backOff), signal);
      }
    }
  }

  #listen(lane, path, since, signal, race) {
    let gap = false;
    const line = new Line(path, this.#clock, {
      state: ({ name }) => {
        if (name === "live" && lane.doing !== "live") lane.begin();
        if (name !== "live") lane.end(name === "waiting");
        this.#do(lane, name === "live" ? "live" : name === "closed" ? "stopped" : "waiting");
      },
      ready: ({ recovered }) => {
        gap = !recovered;
        if (gap) lane.gaps += 1;
        // The asking lanes asked long before this one has shaken hands: from here on all three stand.
        race.began = Math.min(race.began, this.#clock.now());
      },
      publication: (envelope) => {
        // After a gap the first one is the latest, which may be old.
        lane.learn(envelope, this.#clock, gap);
        gap = false;
        this.#changed();
      },
    }, { since, meter: lane.meterName, watch: false });
    line.open();
    const checking = setInterval(() => this.#checkSocket(lane, line), METERS_EVERY);
    signal.addEventListener("abort", () => {
      clearInterval(checking);
      line.close();
    });
  }

  // The last reading is taken after the lanes were stopped, or what stays on the screen would lack their end.
  async #readMeters(lanes, signal) {
    for (let last = false; lanes === this.lanes; last = signal.aborted) {
      // Counted before the server answers: its meters hold at least the requests that brought these.
      const learnt = lanes.map((lane) => lane.changes.size);
      try {
        const meters = await this.#clock.meters(lanes.map((lane) => lane.meterName));
        lanes.forEach((lane, i) => {
          const meter = meters[lane.meterName];
          if (meter?.bytes_up > 0) lane.meter = { ...meter, learnt: learnt[i] };
        });
        this.#changed();
      } catch {
        // Away: the lanes show that themselves.
      }
      if (last) return;
      await sleep(METERS_EVERY, signal);
    }
  }

  #do(lane, what) {
    lane.doing = what;
    this.#changed();
  }
}

class Refusal extends Error {
  constructor(answer) {
    super(`${answer.status} ${answer.statusText}`);
    this.retryAfter = Number(answer.headers.get("Retry-After") ?? 0) * 1000;
  }
}

// Ends early, and without an error, when the signal aborts.
function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal.aborted || ms <= 0) return resolve();
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}
