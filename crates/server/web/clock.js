// The server's clock, as well as it can be known from here: `/meters` tells its time, and of several samples the one
// with the shortest round trip has the smallest error (half of that round trip).

const KEPT = 30;

export class Clock {
  /** Server's time less ours, in ms. */
  offset = 0;
  /** How far `offset` may be off, in ms; Infinity before the first sample. */
  error = Infinity;
  #samples = [];

  /** The server's time now, in ms since 1970. */
  now() {
    return here() + this.offset;
  }

  /** Reads the named meters, and takes a sample of the server's clock on the way. */
  async meters(names, signal) {
    const url = new URL("/meters", location.href);
    for (const name of names) url.searchParams.append("name", name);
    const sent = here();
    const answer = await fetch(url, { cache: "no-store", signal });
    const received = here();
    if (!answer.ok) throw new Error(`GET /meters answered ${answer.status}`);
    const { time, meters } = await answer.json();
    this.#sample(sent, received, Date.parse(time));
    return meters;
  }

  /** Takes the first few samples; a failure leaves the clock as it is. */
  async measure() {
    try {
      for (let i = 0; i < 5; i += 1) await this.meters([]);
    } catch {
      // The line will say that the server is away; the next reading of the meters brings the next sample.
    }
  }

  #sample(sent, received, time) {
    this.#samples.push({ error: (received - sent) / 2, offset: time - (sent + received) / 2 });
    if (this.#samples.length > KEPT) this.#samples.shift();
    const best = this.#samples.reduce((a, b) => (b.error < a.error ? b : a));
    this.offset = best.offset;
    this.error = best.error;
  }
}

// Monotonic and finer than Date.now().
function here() {
  return performance.timeOrigin + performance.now();
}
