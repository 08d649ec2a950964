// The page's own controls: the line's state, the colours, the two views of a small screen, and the choices above the board.

import { setText } from "./dom.js";
import { plural } from "./words.js";

const TELL = 15_000; // ms for which a comeback is told

const part = (id) => document.getElementById(id);

/** Shows what the line is doing; see `Line.state`. */
export function showState(state) {
  clearInterval(showState.timer);
  const since = performance.now();
  const was = part("state").dataset.name;
  const draw = () => {
    const age = performance.now() - since;
    setText(part("state-text"), stateWords(state, age));
    if (state.name !== "live" || age <= TELL) return;
    part("state").dataset.gap = "false"; // what is shown is the latest, as on any line
    clearInterval(showState.timer);
  };
  Object.assign(part("state").dataset, {
    name: state.name,
    resumed: state.resumed,
    missed: state.missed,
    gap: state.gap,
  });
  draw();
  if (state.name === "waiting" || state.name === "live") showState.timer = setInterval(draw, 250);
  part("state").title = state.reason;
  part("retry").hidden = !["waiting", "refused"].includes(state.name);
  // A countdown must not be read aloud; only that the line went, and that it came back.
  const told = {
    live: state.resumed ? "The line is back." : "The line is live.",
    waiting: "The line is cut; reconnecting.",
    refused: "The server refused the line.",
  };
  if (was !== state.name && told[state.name]) setText(part("announce"), told[state.name]);
}

function stateWords({ name, until, reason, resumed, missed, gap }, age) {
  switch (name) {
    case "connecting":
      return resumed ? "Reconnecting" : "Connecting";
    case "waiting": {
      const left = Math.max(1, Math.ceil((until - performance.now()) / 1000));
      return `${navigator.onLine ? "" : "Offline. "}Reconnecting in ${left} s`;
    }
    case "refused":
      return `Refused by the server${reason ? `: ${reason}` : ""}`;
    case "closed":
      return "Closed";
    default:
      if (age > TELL) return "Live";
      if (gap) return "Live, after a gap: now the latest";
      if (!resumed) return "Live";
      return missed ? `Resumed, ${plural(missed, "missed change")} recovered` : "Resumed, nothing was missed";
  }
}

/** The button for light and dark; the system's choice stands until it is pressed. */
export function showTheme() {
  const root = document.documentElement;
  part("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem("openline-theme", root.dataset.theme);
    } catch {
      // No storage here: the choice holds for this visit.
    }
  });
}

/** The two views of a small screen; a wide one shows both. */
export function showViews() {
  const buttons = document.querySelectorAll(".views button");
  const show = (view) => {
    document.body.dataset.view = view;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  };
  for (const button of buttons) button.addEventListener("click", () => show(button.dataset.view));
  return { show };
}

/**
 * The search and the filters. `on` has `found(key)`, for when one flight is left, `enter(key)`, and `escape()`, which
 * tells whether it closed something.
 */
export function showChoices(board, on) {
  const search = part("search");
  const form = part("choices");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    if (event.target.type === "radio") board.choose({ [event.target.name]: event.target.value });
  });
  search.addEventListener("input", () => {
    for (const filter of form.querySelectorAll("fieldset")) filter.disabled = search.value.trim() !== "";
    board.choose({ query: search.value });
    requestAnimationFrame(() => {
      if (search.value.trim() && board.keys.length === 1) on.found(board.keys[0]);
    });
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && search.value.trim() && board.keys.length > 0) on.enter(board.keys[0]);
    if (event.key === "ArrowDown" && board.keys.length > 0) {
      event.preventDefault();
      board.focus(board.keys[0]);
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, select, textarea")) {
      event.preventDefault();
      search.focus();
      search.select();
    }
    if (event.key !== "Escape") return;
    const closed = on.escape();
    if (search.value && (!closed || event.target === search)) {
      event.preventDefault();
      search.value = "";
      search.dispatchEvent(new Event("input"));
    }
  });
  return {
    /** Puts the focus where it came from when a flight is closed: on its row, or else in the search. */
    back: (key) => {
      if (board.keys.includes(key)) board.focus(key);
      else search.focus();
    },
  };
}
