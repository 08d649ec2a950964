// Ties the page together: one line for the board, one model, and what is drawn from it.

import { Board } from "./board.js";
import { Clock } from "./clock.js";
import { make, perFrame, setText } from "./dom.js";
import { FlightPanel } from "./flight.js";
import { Flights, likelyNext } from "./flights.js";
import { Lanes } from "./lanes.js";
import { Ledger } from "./ledger.js";
import { Line } from "./line.js";
import { showChoices, showState, showTheme, showViews } from "./shell.js";
import { Strips } from "./strips.js";
import { day, timeOfDay } from "./words.js";

const part = (id) => document.getElementById(id);
// The style sheet decides by width and size of text; where both views stand side by side, nothing switches between them.
const isWide = () => document.querySelector(".views").getClientRects().length === 0;

const clock = new Clock();
const flights = new Flights();
const board = new Board(part("board"), part("board-note"), flights, (key) => openFlight(key));
const panel = new FlightPanel(part("flight"), flights, {
  followed: () => (lanes.running ? lanes.key : null),
  follow: (key) => {
    follow(key);
    if (isWide()) return;
    closeFlight();
    view.show("lanes");
  },
  close: () => closeFlight(),
});
const lanes = new Lanes(clock, () => ledger.draw());
const ledger = new Ledger(lanes, flights, clock);
const view = showViews();
const drawMoment = perFrame(showMoment);
new Strips(part("strips"), lanes);

// The oldest cursor that this page was told: asking from it brings the history of a flight.
let start = null;
let asked = inAddress();
let chosen = false;
let settled = false; // the first load has come to rest: what is not known now does not exist
let reopen = null; // the flight whose time line a gap has made wrong

const line = new Line("/channels/flights/*", clock, {
  state: (state) => showState(state),
  ready: (first, resuming) => {
    if (!resuming || !first.recovered) start = first.cursor;
    if (!resuming || first.recovered) return;
    // A gap: what follows is the latest of every flight, and what was known may be wrong.
    flights.clear();
    reopen = panel.key;
    board.draw();
  },
  publication: (envelope) => {
    const { flight, newRun } = flights.apply(envelope);
    if (newRun) tellNewRun();
    if (!flight) return;
    board.changed(flight);
    if (flight.key === reopen) {
      reopen = null;
      panel.open(flight.key, start);
    } else if (flight.key === panel.key) {
      panel.draw();
    }
    if (flight.key === lanes.key) ledger.draw();
    drawMoment();
    if (!chosen) chooseFirst();
  },
});

showTheme();
const choices = showChoices(board, {
  found: (key) => openFlight(key, false),
  enter: (key) => openFlight(key),
  escape: () => closeFlight(),
});
part("retry").addEventListener("click", () => line.retry());
part("lanes-next").addEventListener("click", () => {
  const next = likelyNext(flights, flights.byKey.get(lanes.key));
  if (next) follow(next.key);
});
part("lanes-stop").addEventListener("click", () => {
  if (lanes.running) lanes.stop();
  else follow(lanes.key);
  panel.draw();
});
part("interval").addEventListener("change", (event) => (lanes.interval = Number(event.target.value)));
addEventListener("hashchange", () => {
  asked = inAddress();
  if (settled && asked !== null) openAsked();
});

clock.measure();
line.open();

/** For the console, and for tests: what the page knows, read it freely. */
globalThis.openline = { line, flights, lanes, clock };

function openFlight(key, focus = true) {
  if (!flights.byKey.has(key)) return;
  if (panel.key !== key) panel.open(key, start);
  history.replaceState(null, "", `#${key}`);
  if (focus) panel.focus();
}

// What the address asks for: a flight's key, or null. A part of the page itself is no flight.
function inAddress() {
  const hash = location.hash.slice(1);
  if (hash === "" || part(hash)) return null;
  try {
    return decodeURIComponent(hash);
  } catch {
    return hash;
  }
}

function openAsked(focus = true) {
  if (flights.byKey.has(asked)) return openFlight(asked, focus);
  tell(`There is no flight ${asked} on this day. The search finds all there are.`);
  history.replaceState(null, "", panel.key === null ? location.pathname : `#${panel.key}`);
}

function closeFlight() {
  if (panel.key === null) return false;
  const { key } = panel;
  const focused = part("flight").contains(document.activeElement);
  panel.close();
  history.replaceState(null, "", location.pathname);
  if (focused) choices.back(key);
  return true;
}

function follow(key) {
  const flight = flights.byKey.get(key);
  if (!flight || line.cursor === null) return;
  const before = lanes.key;
  lanes.follow(flight, line.cursor);
  // The panel goes along with the lanes, unless it shows another flight.
  if (panel.key !== null && panel.key === before) panel.open(key, start);
  else panel.draw();
}

// Once the first load has come to rest: follow a flight of which more will be heard, and open the one in the address.
function chooseFirst() {
  chosen = true;
  setTimeout(() => {
    const next = flights.byKey.get(asked) ?? likelyNext(flights);
    settled = next !== null;
    if (!settled) {
      chosen = false;
      return;
    }
    if (!lanes.key) follow(next.key);
    if (asked !== null) openAsked(false);
    if (isWide() && panel.key === null) panel.open(next.key, start);
  }, 800);
}

function tellNewRun() {
  tell(`Run ${flights.run}: the day begins again.`);
}

function tell(words) {
  const notice = part("notice");
  setText(notice, words);
  setText(part("announce"), words);
  notice.hidden = false;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => (notice.hidden = true), 10_000);
}

function showMoment() {
  const time = timeOfDay(flights.now);
  const flaps = part("clock");
  if (flaps.dataset.time !== time) {
    flaps.dataset.time = time;
    flaps.setAttribute("aria-label", `${time} in New York`);
    flaps.replaceChildren(...[...time].map((sign) => make("span", {}, sign)));
  }
  setText(part("day"), day(flights.now));
  setText(part("run"), `run ${flights.run}`);
  part("run").dataset.run = flights.run;
}
