// Chromium opens a WebSocket over HTTP/2 (RFC 8441) where the page of the same origin came over a connection whose server
// announces it. The server itself tells what came of it.
// Run it with: npm ci && OPENLINE_BIN=/path/to/openline node --test   (its examples are beside it, in `examples/`)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBrowser, startHttp2 } from "./support.js";

let browser;

before(async () => {
  browser = await startBrowser();
});

after(() => browser?.close());

async function openPage(t) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(await startHttp2(t));
  await page.waitForFunction(() => document.querySelector("#socket").value !== "");
  return page;
}

test("a page's WebSocket goes over the page's own connection", async (t) => {
  const page = await openPage(t);
  const origin = await page.locator("#page").textContent();
  assert.match(origin, /^h2, connection \d+$/);
  assert.equal(await page.locator("#socket").textContent(), origin.replace("h2", "HTTP/2.0"));
  await page.locator("input").fill("hello");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("pre").textContent === "hello\n");
});

test("many of them do, large messages come through, and each is closed by itself", async (t) => {
  const page = await openPage(t);
  const told = await page.evaluate(async () => {
    const once = (socket, event) => new Promise((resolve) => socket.addEventListener(event, resolve, { once: true }));
    const url = `wss://${location.host}/echo`;
    const sockets = await Promise.all(Array.from({ length: 8 }, async () => {
      const socket = new WebSocket(url);
      const { data } = await once(socket, "message");
      return { socket, data };
    }));
    const large = "x".repeat(300_000);
    const echoes = await Promise.all(sockets.map(async ({ socket }) => {
      socket.send(large);
      return (await once(socket, "message")).data === large;
    }));
    const [first, ...others] = sockets.map(({ socket }) => socket);
    first.close(3000, "bye");
    const { code, wasClean } = await once(first, "close");
    others[0].send("still here");
    const { data } = await once(others[0], "message");
    return { versions: sockets.map(({ data }) => data), echoes, close: { code, wasClean }, data };
  });
  const version = await page.locator("#socket").textContent();
  assert.deepEqual(new Set(told.versions), new Set([version]), "all are on one connection");
  assert.ok(told.echoes.every(Boolean));
  assert.deepEqual(told.close, { code: 3000, wasClean: true });
  assert.equal(told.data, "still here");
});
