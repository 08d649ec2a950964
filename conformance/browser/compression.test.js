// Publications that go compressed to a real Chromium, which inflates them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage, publish, startBrowser, startDemo } from "./support.js";

test("a browser agrees on compression and reads what comes", async (t) => {
  const demo = await startDemo(600, "--compression", "true");
  t.after(() => demo.stop());
  const browser = await startBrowser();
  t.after(() => browser.close());
  const { page, told } = await openPage(t, browser, demo.url);
  const body = Array.from({ length: 100 }, (_, number) => ({ flight: `UA${number}`, gate: "C71" }));
  await publish(demo.url, "news", body);
  const heard = await page.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(new URL("/channels/news", location.href.replace("http", "ws")));
        socket.onmessage = ({ data }) => resolve({ data, extensions: socket.extensions });
        socket.onerror = () => reject(new Error("the WebSocket failed"));
      }),
  );
  assert.match(heard.extensions, /^permessage-deflate/);
  assert.deepEqual(JSON.parse(heard.data), body);
  assert.deepEqual(told.errors, []);
});
