// One open line: a WebSocket of the subprotocol `openline.v1` that comes back by itself and resumes by cursor.
//
// The server's first message says where the stream stands: {"cursor", "recovered"}. Every later one is an envelope,
// {"channel", "cursor", "time", "type", "data"}. Whoever comes back with the last cursor gets what was missed, in
// order and once; when the server cannot do that any more it says `recovered: false` and sends the latest: a gap.

const FIRST_DELAY = 500; // ms, doubled with each failed attempt
const LONGEST_DELAY = 15_000;
const OPEN_WITHIN = 10_000; // ms for the handshake and the first message
const QUIET_AFTER = 30_000; // ms without a message, after which the line is checked
const REFUSED = 1008; // the close code that says: coming back will not help

export class Line {
  /** Where the stream stands: the cursor to resume from, or null before the first message. */
  cursor;
  /**
   * What the line is doing: `name` is connecting, live, waiting, refused or closed; `until` (waiting only) is when the
   * next attempt starts, by `performance.now()`; `resumed` counts the comebacks, `missed` the publications which the
   * last one brought; `gap` is true when that comeback could not bring all of them.
   */
  state = { name: "closed", until: 0, reason: "", resumed: 0, missed: 0, gap: false };

  #path;
  #meter;
  #watch;
  #clock;
  #on;
  #socket = null;
  #failures = 0;
  #timer = 0;
  #heard = 0;
  #openedAt = 0;

  /**
   * `path` is a channel's or a pattern's, `clock` tells the server's time, `on` has `state(state)`,
   * `ready(first, resuming)` and `publication(envelope)`. `since` is where to begin, `meter` the name under which the
   * server counts this line; a line that is not to `watch` leaves it to its owner to call `cut` when it seems dead.
   */
  constructor(path, clock, on, { since = null, meter = "", watch = true } = {}) {
    this.#path = path;
    this.#clock = clock;
    this.#on = on;
    this.cursor = since;
    this.#meter = meter;
    this.#watch = watch;
  }

  open() {
    addEventListener("online", this.#retryNow);
    document.addEventListener("visibilitychange", this.#awake);
    this.#connect();
  }

  close() {
    removeEventListener("online", this.#retryNow);
    document.removeEventListener("visibilitychange", this.#awake);
    this.#drop();
    this.#say({ name: "closed" });
  }

  /** Tries again at once, when the line is waiting or was refused. */
  retry() {
    if (this.state.name === "waiting" || this.state.name === "refused") this.#connect();
  }

  /** Gives the connection up and comes back on a new one. */
  cut(reason) {
    if (this.state.name === "live") this.#lost(reason);
  }

  #retryNow = () => {
    this.#failures = 0;
    this.retry();
  };

  // A laptop that slept may hold a line that is dead without knowing it.
  #awake = () => {
    if (document.hidden) return;
    if (this.state.name !== "live") this.#retryNow();
    else if (this.#watch) this.#check();
  };

  #connect() {
    this.#drop();
    this.#say({ name: "connecting" });
    const url = new URL(this.#path, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.cursor !== null) url.searchParams.set("since", this.cursor);
    if (this.#meter) url.searchParams.set("meter", this.#meter);
    const resuming = this.cursor !== null;
    const socket = new WebSocket(url, "openline.v1");
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost("no answer"), OPEN_WITHIN);
    socket.onclose = (event) => {
      if (event.code === REFUSED) {
        this.#drop();
        this.#say({ name: "refused", reason: event.reason });
      } else {
        this.#lost(event.reason);
      }
    };
    socket.onmessage = (event) => {
      this.#first(JSON.parse(event.data), resuming);
      socket.onmessage = (next) => this.#publication(JSON.parse(next.data));
    };
  }

  #first(first, resuming) {
    clearTimeout(this.#timer);
    this.#failures = 0;
    this.#heard = performance.now();
    this.#openedAt = this.#clock.now();
    this.#timer = setInterval(() => {
      if (this.#watch && performance.now() - this.#heard > QUIET_AFTER) this.#check();
    }, QUIET_AFTER / 2);
    this.cursor = first.cursor;
    this.#on.ready(first, resuming);
    const { resumed } = this.state;
    this.#say({ name: "live", resumed: resuming ? resumed + 1 : resumed, missed: 0, gap: !first.recovered });
  }

  #publication(envelope) {
    this.#heard = performance.now();
    this.cursor = envelope.cursor;
    // Published before this connection stood: it was missed, and the resume has brought it.
    const late = this.state.resumed > 0 && !this.state.gap && Date.parse(envelope.time) < this.#openedAt;
    this.#on.publication(envelope);
    if (late) this.#say({ missed: this.state.missed + 1 });
  }

  // A browser cannot ping. A poll from our own cursor tells whether the line should have brought something by now.
  async #check() {
    const socket = this.#socket;
    const cursor = this.cursor;
    this.#heard = performance.now();
    const url = `${this.#path}?since=${encodeURIComponent(cursor)}&limit=1`;
    let dead = true;
    try {
      const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(OPEN_WITHIN) });
      const { publications } = await answer.json();
      dead = publications.length > 0;
      if (dead) await new Promise((resolve) => setTimeout(resolve, 3000));
    } catch {
      // No answer in time: as dead as a line can be.
    }
    if (dead && this.#socket === socket && this.cursor === cursor) this.#lost("the line went silent");
  }

  #lost(reason) {
    this.#drop();
    const longest = Math.min(FIRST_DELAY * 2 ** this.#failures, LONGEST_DELAY);
    this.#failures += 1;
    // Spread out, so that all the pages of a server that went away do not come back in one moment.
    const delay = longest * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#say({ name: "waiting", until: performance.now() + delay, reason });
  }

  #drop() {
    clearTimeout(this.#timer); // clears an interval too: they share one list of ids
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #say(change) {
    this.state = { ...this.state, reason: "", ...change };
    this.#on.state(this.state);
  }
}
