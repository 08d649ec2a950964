// The page of `openline demo` in a real Chromium, against the real server.
// Run it with: npm ci && OPENLINE_BIN=/path/to/openline node --test   (CHROMIUM_BIN: another Chromium than /usr/bin/chromium)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { listen, openPage, publish, startBrowser, startDemo, startProxy } from "./support.js";

const SPEED = 600; // ten minutes of the day a second; a run takes more than two minutes
const FLIGHTS = 992;

let demo;
let browser;
let witness;

before(async () => {
  demo = await startDemo(SPEED);
  witness = await listen(demo.url, "flights/*");
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await witness?.stop();
  await demo?.stop();
});

test("the board shows flights, and they change; nothing fails and nobody else is asked", async (t) => {
  const { page, told } = await openPage(t, browser, demo.url);
  await page.waitForFunction((all) => document.querySelector('[data-count="all"]').textContent === String(all), FLIGHTS);
  const cursors = () => page.locator("[data-testid=row]").evaluateAll((rows) => rows.map((row) => row.dataset.cursor));
  const before = new Set(await cursors());
  await page.waitForFunction(
    (known) => [...document.querySelectorAll("[data-testid=row]")].filter((row) => !known.includes(row.dataset.cursor)).length >= 3,
    [...before],
  );
  const times = await page.locator("[data-testid=row] .time").allTextContents();
  assert.deepEqual(times, times.toSorted(), "the rows are in the order of their scheduled times");
  assert.deepEqual(told.errors, []);
  assert.deepEqual(told.foreign, []);
});

test("a cut line reconnects by itself and resumes: nothing missing, nothing twice, in order", async (t) => {
  const proxy = await startProxy(t, demo.port);
  const { page, told } = await openPage(t, browser, proxy.url);
  const from = await page.evaluate(() => openline.line.cursor);
  for (const round of [1, 2]) {
    proxy.close();
    await page.locator('[data-testid=state][data-name="waiting"]').waitFor();
    assert.match(await page.getByTestId("state").textContent(), /Reconnecting in \d+ s/);
    const { length } = witness.record;
    await witness.until((record) => record.length >= length + 5);
    proxy.open();
    const back = page.locator(`[data-testid=state][data-name="live"][data-resumed="${round}"]`);
    await back.waitFor();
    await page.waitForFunction(() => Number(document.getElementById("state").dataset.missed) >= 5);
    assert.equal(await back.getAttribute("data-gap"), "false");
    assert.match(await page.getByTestId("state").textContent(), /Resumed, \d+ missed changes recovered/);
  }
  const { length } = witness.record;
  await witness.until((record) => record.length > length);
  const until = witness.record.at(-1).cursor;
  await page.waitForFunction(
    (cursor) => [...openline.flights.byKey.values()].some(({ seen }) => seen.some((one) => one.cursor === cursor)),
    until,
  );
  const heard = await pageRecord(page);
  assert.deepEqual(between(heard, from, until), between(witness.record, from, until).map(where));
  assert.deepEqual(told.foreign, []);
});

test("a server that came back with another log is a gap, told and healed by the latest", async (t) => {
  const other = await startDemo(SPEED);
  t.after(other.stop);
  const proxy = await startProxy(t, demo.port);
  const { page } = await openPage(t, browser, proxy.url);
  proxy.open(other.port);
  proxy.cut();
  await page.locator('[data-testid=state][data-name="live"][data-gap="true"]').waitFor();
  assert.match(await page.getByTestId("state").textContent(), /after a gap/);
  await page.waitForFunction((all) => openline.flights.byKey.size === all, FLIGHTS);
  const epoch = await page.evaluate(() => openline.line.cursor.split(":")[0]);
  const kept = await page.evaluate(() => [...openline.flights.byKey.values()].map((flight) => flight.cursor.split(":")[0]));
  assert.ok(kept.every((one) => one === epoch), "what the other log told is forgotten");
});

test("the three lanes of one flight agree in the end, and their counts are true", async (t) => {
  const { page, told } = await openPage(t, browser, demo.url);
  // The last flight of the day: its lanes hear what is published here, and the day's own changes if they come.
  const key = await page.evaluate(() => openline.flights.sorted().at(-1).key);
  await page.getByTestId("search").fill(key);
  await page.locator(`[data-testid=flight][data-key="${key}"]`).waitFor();
  await page.getByTestId("flight-follow").click();
  const lanes = page.getByTestId("lanes");
  await page.locator(`[data-testid=lanes][data-key="${key}"]`).waitFor();
  for (const [lane, doing] of [["long-poll", "held"], ["ws", "live"]]) {
    await lanes.locator(`[data-lane="${lane}"][data-doing="${doing}"]`).waitFor();
  }
  const state = await page.evaluate((name) => openline.flights.byKey.get(name).state, key);
  const published = [];
  for (const late_min of [15, 30, 60]) {
    const change = { ...state, status: "late", basis: "derived", late_min };
    published.push(await publish(demo.url, `flights/${key}`, change));
    await page.waitForFunction((cursor) => openline.lanes.lanes[2].changes.has(cursor), published.at(-1));
  }
  await page.locator('[data-testid=lane-changes][data-agree="true"] tr').nth(2).waitFor();
  await page.waitForFunction(
    (cursors) => openline.lanes.lanes.every((lane) => cursors.every((cursor) => lane.changes.has(cursor))),
    published,
  );
  await page.locator('[data-testid=lane-changes][data-agree="true"]').waitFor();
  for (const lane of ["poll", "long-poll", "ws"]) {
    const cells = await page.locator(`[data-testid=lane-changes] [data-lane="${lane}"]`).allTextContents();
    for (const cell of cells) assert.match(cell, /^(<1|\d+) ms$|^[\d.]+ s$/, `how late ${lane} learnt each`);
  }

  await lanes.getByRole("button", { name: "Stop" }).click();
  const learnt = await page.evaluate(() =>
    openline.lanes.lanes.map(({ changes, doubles, gaps, meterName }) => ({ cursors: [...changes.keys()], doubles, gaps, meterName })),
  );
  const [poll, longPoll, socket] = learnt;
  assert.deepEqual(poll.cursors, socket.cursors);
  assert.deepEqual(longPoll.cursors, socket.cursors);
  assert.deepEqual(socket.cursors.filter((cursor) => published.includes(cursor)), published);
  assert.ok(learnt.every(({ doubles, gaps }) => doubles === 0 && gaps === 0));

  // What the server counted is what the browser did.
  const names = learnt.map(({ meterName }) => meterName);
  const { meters } = await (await fetch(`${demo.url}meters?${names.map((name) => `name=${name}`).join("&")}`)).json();
  const asked = (name) => [...told.requests, ...told.sockets].filter((url) => url.includes(`meter=${name}`)).length;
  for (const name of names) {
    assert.equal(meters[name].requests, asked(name), `requests of ${name}`);
    assert.ok(meters[name].bytes_up > 100 && meters[name].bytes_down > 100, `bytes of ${name}`);
  }
  assert.equal(meters[socket.meterName].requests, 1);
  assert.ok(meters[longPoll.meterName].requests >= published.length + 1);
  assert.match(await page.getByTestId("lanes-sum").textContent(), /To learn \d+ changes: polling asked \d+ times/);
  assert.deepEqual(told.errors, []);
});

test("the search narrows to one flight and shows its time line, all from the keyboard", async (t) => {
  const { page, told } = await openPage(t, browser, demo.url);
  const focused = () => page.evaluate(() => document.activeElement.closest("[data-key]")?.dataset.key ?? document.activeElement.id);
  await page.keyboard.press("/");
  assert.equal(await focused(), "search");
  await page.keyboard.type("houston");
  await page.waitForFunction(() => {
    const cities = [...document.querySelectorAll("[data-testid=row] .city")].map((city) => city.textContent);
    return cities.length > 5 && cities.every((city) => city === "Houston");
  });
  await page.getByTestId("search").fill("UA1545-EWR");
  const panel = page.locator('[data-testid=flight][data-key="UA1545-EWR"]');
  await panel.waitFor();
  assert.equal(await page.locator("[data-testid=row]").count(), 1);
  assert.equal(await focused(), "search", "what opens by itself leaves the focus where it is");
  await page.keyboard.press("Escape");
  await panel.waitFor({ state: "hidden" });
  assert.equal(await page.getByTestId("search").inputValue(), "");
  await page.locator('input[name="view"][value="all"]').check();
  await page.locator(`[data-testid=row]`).nth(FLIGHTS - 1).waitFor();
  await page.getByTestId("search").focus();
  await page.getByTestId("search").fill("boston");
  await page.locator('[data-testid=row]:has-text("Boston")').nth(3).waitFor();
  const keys = await page.locator("[data-testid=row]").evaluateAll((rows) => rows.map((row) => row.dataset.key));
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), keys[0]);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), keys[2]);
  await page.keyboard.press("Enter");
  await page.locator(`[data-testid=flight][data-key="${keys[2]}"]`).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "flight-title");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), keys[2], "the focus returns to the row");
  assert.deepEqual(told.errors, []);
});

test("a time line tells a flight's events of this run, those from before the page was opened too", async (t) => {
  const isOver = ({ data }) => data.status === "arrived";
  await witness.until((record) => record.some(isOver));
  const { channel, data } = witness.record.find(isOver);
  const { page } = await openPage(t, browser, `${demo.url}#${data.flight}`);
  const events = page.locator(`[data-testid=flight][data-key="${data.flight}"] [data-testid=timeline] li[data-cursor]`);
  await events.nth(1).waitFor();
  const shown = await events.evaluateAll((items) =>
    items.map((item) => [item.dataset.cursor, item.dataset.status, item.querySelector(".basis").textContent]),
  );
  const told = witness.record
    .filter((one) => one.channel === channel && one.data.run === data.run)
    .map((one) => [one.cursor, one.data.status, one.data.basis]);
  // Its `scheduled` may have come before the oldest cursor that the page was told; then the page says so.
  const whole = shown[0][1] === "scheduled";
  assert.deepEqual(shown, whole ? told : told.slice(1));
  assert.equal(await page.getByText("before this page could ask").count(), whole ? 0 : 1);
});

test("what is published is shown as text, whatever it is", async (t) => {
  const { page, told } = await openPage(t, browser, demo.url);
  const mark = `<img src="/nowhere" onerror="document.title='owned'">`;
  await publish(demo.url, "flights/XX1-JFK", {
    flight: "XX1-JFK", carrier: "XX", number: 1, airline: mark, origin: "JFK", dest: "XXX", dest_city: mark,
    scheduled: "2013-09-12T12:00:00-04:00", status: mark, basis: mark, at: "never",
  });
  await publish(demo.url, "flights/not-a-flight", ["something", "else"]);
  await page.getByTestId("search").fill("XX1-JFK");
  await page.locator('[data-testid=flight][data-key="XX1-JFK"]').waitFor();
  assert.equal(await page.locator("[data-testid=row] .city").textContent(), mark);
  assert.notEqual(await page.title(), "owned");
  assert.deepEqual(told.errors, []);
  await fetch(`${demo.url}channels/flights/XX1-JFK`, { method: "DELETE" });
  await fetch(`${demo.url}channels/flights/not-a-flight`, { method: "DELETE" });
});

test("a phone shows it all without scrolling sideways", async (t) => {
  const { page, told } = await openPage(t, browser, demo.url, {
    viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true,
  });
  const fits = async (what) => {
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${what} is ${width} px wide`);
  };
  await fits("the board");
  await page.locator("[data-testid=row]").nth(2).tap();
  await page.locator("[data-testid=timeline] li").first().waitFor();
  await fits("a flight");
  await page.getByTestId("flight-close").tap();
  await page.getByRole("button", { name: "Three ways to hear" }).tap();
  await page.locator('[data-testid=lanes] [data-lane="ws"][data-doing="live"]').waitFor();
  await fits("the lanes");
  assert.deepEqual(told.errors, []);
});

for (const percent of [100, 200]) {
  test(`text of ${percent} % fits, whatever the width: nothing scrolls sideways, and every column has room`, async (t) => {
    const { page, told } = await openPage(t, browser, demo.url);
    // Both ways to larger text: the reader's own setting, and a root element that was made larger.
    const session = await page.context().newCDPSession(page);
    const enlarge = {
      setting: (on) => session.send("Page.setFontSizes", { fontSizes: { standard: on ? (16 * percent) / 100 : 16 } }),
      root: (on) => page.evaluate((size) => (document.documentElement.style.fontSize = size), on ? `${(15 * percent) / 100}px` : ""),
    };
    const fits = async (what, width) => {
      const { scroll, font } = await page.evaluate(() => ({
        scroll: document.documentElement.scrollWidth,
        font: getComputedStyle(document.body).fontSize,
      }));
      assert.equal(font, `${(15 * percent) / 100}px`, what);
      assert.ok(scroll <= width, `${what} is ${scroll} px wide at ${width} px`);
    };
    for (const [name, set] of Object.entries(enlarge)) {
      await set(true);
      for (const width of [320, 375, 768, 1280]) {
        await page.setViewportSize({ width, height: 800 });
        const separate = await page.locator(".views").isVisible();
        if (separate) await page.getByRole("button", { name: "Departures" }).click();
        await fits(`the board (${name})`, width);
        const row = await page.evaluate(() => {
          const element = document.querySelector("[data-testid=row]");
          return {
            cells: [...element.cells].map((cell) => cell.getBoundingClientRect()).map(({ width, right }) => ({ width, right })),
            code: element.querySelector(".iata").getBoundingClientRect().width,
            end: element.closest("section").getBoundingClientRect().right,
          };
        });
        const seen = `${JSON.stringify(row)} (${name}, ${width} px)`;
        assert.ok(row.cells.every((cell) => cell.width >= 20 && cell.right <= row.end + 1), seen);
        assert.ok(row.code > 10, `the airport's code is whole: ${seen}`);
        if (!separate) continue;
        await page.getByRole("button", { name: "Three ways to hear" }).click();
        await fits(`the lanes (${name})`, width);
      }
      await set(false);
    }
    assert.deepEqual(told.errors, []);
  });
}

test("the lanes' sentence is true for each lane from the first moment on", async (t) => {
  const { page } = await openPage(t, browser, demo.url);
  await page.addInitScript(() => {
    globalThis.said = [];
    addEventListener("DOMContentLoaded", () => {
      const sum = document.getElementById("lanes-sum");
      const note = () =>
        said.push({ words: sum.textContent, learnt: openline.lanes.lanes.map(({ id, changes }) => [id, changes.size]) });
      new MutationObserver(note).observe(sum, { childList: true });
    });
  });
  await page.reload();
  for (const another of [false, true, true]) {
    const from = await page.evaluate(() => said.length);
    if (another) await page.getByRole("button", { name: "Another flight" }).click();
    await page.waitForFunction(
      (start) => said.slice(start).some(({ words }, i, all) => /asked/.test(words) && all[i - 1]?.words === "Measuring …"),
      another ? from : 0,
    );
  }
  const names = { poll: "polling", "long-poll": "long polling", ws: "the WebSocket" };
  for (const { words, learnt } of await page.evaluate(() => said)) {
    assert.doesNotMatch(words, /(^|[^\d.])0 B/);
    const [, count, costs] = /^To learn (\d+) changes?: (.*?)\.( [A-Z]|$)/.exec(words) ?? [];
    if (!costs) continue;
    const named = costs.split("; ").map((cost) => Object.keys(names).find((id) => cost.startsWith(names[id])));
    for (const [id, size] of learnt) {
      if (named.includes(id)) assert.ok(size >= Number(count), `${words} (${id} has learnt ${size})`);
    }
  }
});

test("a flight that does not exist is told, and leaves the address", async (t) => {
  const { page, told } = await openPage(t, browser, `${demo.url}#NOPE`);
  await page.getByTestId("notice").waitFor();
  assert.match(await page.getByTestId("notice").textContent(), /There is no flight NOPE/);
  assert.equal(new URL(page.url()).hash, "");
  await page.evaluate(() => (location.hash = "#NOPE-2"));
  await page.getByText("There is no flight NOPE-2").first().waitFor();
  assert.equal(await page.evaluate(() => location.hash.includes("NOPE")), false);
  assert.deepEqual(told.errors, []);
});

test("light and dark: the system's choice, then the button's, which is kept", async (t) => {
  const { page } = await openPage(t, browser, demo.url, { colorScheme: "dark" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.getByRole("button", { name: "Switch between light and dark" }).click();
  const light = await ground();
  assert.notEqual(light, dark);
  await page.reload();
  assert.equal(await ground(), light);
});

test("a new run of the day is announced", async (t) => {
  const fast = await startDemo(20_000);
  t.after(fast.stop);
  const { page, told } = await openPage(t, browser, fast.url);
  const run = Number(await page.getByTestId("run").getAttribute("data-run"));
  await page.waitForFunction((before) => Number(document.getElementById("run").dataset.run) > before, run);
  await page.getByTestId("notice").waitFor();
  assert.match(await page.getByTestId("notice").textContent(), /^Run \d+: the day begins again/);
  assert.equal(await page.locator('[data-count="all"]').textContent(), String(FLIGHTS));
  assert.deepEqual(told.errors, []);
});

// All that the page's model holds, in the order in which it was heard.
function pageRecord(page) {
  return page.evaluate(() =>
    [...openline.flights.byKey.values()]
      .flatMap(({ channel, seen }) => seen.map(({ cursor, heard }) => ({ channel, cursor, heard })))
      .sort((a, b) => a.heard - b.heard)
      .map(({ channel, cursor }) => ({ channel, cursor })),
  );
}

// The part of a record after one cursor, to another and with it.
function between(record, from, until) {
  const start = record.findIndex(({ cursor }) => cursor === from);
  const end = record.findIndex(({ cursor }) => cursor === until);
  assert.ok(start >= 0 && end > start, "both ends are in the record");
  return record.slice(start + 1, end + 1);
}

function where({ channel, cursor }) {
  return { channel, cursor };
}
