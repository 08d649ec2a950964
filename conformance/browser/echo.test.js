// Chromium as a client of the library, through its example `echo`: as a page uses it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBrowser, startEcho, startProxy, startSite } from "./support.js";

let site;
let stranger;
let browser;
let plain;
let deflating;

before(async () => {
  [site, stranger] = await Promise.all([startSite(), startSite()]);
  const allowed = ["--allow-origin", site.origin];
  [browser, plain, deflating] = await Promise.all([
    startBrowser(), startEcho(...allowed), startEcho("--deflate", ...allowed),
  ]);
});

after(async () => {
  await browser?.close();
  await plain?.stop();
  await deflating?.stop();
  site?.stop();
  stranger?.stop();
});

/** An empty page, until the test `t` ends. */
async function open(t, { origin }) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(origin);
  return page;
}

/** What the page calls: sends messages, and resolves to what came back and how it was closed. */
function converse({ url, sizes, close }) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const text = (size) => "aé€😀".repeat(Math.ceil(size / 5)).slice(0, size);
    const bytes = (size) => Uint8Array.from({ length: size }, (_, i) => (i * i) >> 3);
    const sent = sizes.flatMap((size) => [text(size), bytes(size)]);
    const told = { extensions: null, echoed: 0, differ: [] };
    socket.onopen = () => {
      told.extensions = socket.extensions;
      for (const message of sent) socket.send(message);
      if (sent.length === 0) socket.close(...close);
    };
    socket.onmessage = ({ data }) => {
      const wanted = sent[told.echoed];
      const same = typeof data === "string"
        ? data === wanted
        : data.byteLength === wanted.length && new Uint8Array(data).every((byte, i) => byte === wanted[i]);
      if (!same) told.differ.push(told.echoed);
      if (++told.echoed === sent.length) socket.close(...close);
    };
    socket.onclose = ({ code, reason, wasClean }) => resolve({ ...told, code, reason, wasClean });
  });
}

const SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 3 << 20];

test("text and binary of every size come back as they were sent", async (t) => {
  const page = await open(t, site);
  const told = await page.evaluate(converse, { url: plain.url, sizes: SIZES, close: [1000, "enough"] });
  assert.deepEqual(told, {
    extensions: "", echoed: 2 * SIZES.length, differ: [], code: 1000, reason: "", wasClean: true,
  });
});

test("compression is negotiated and used, both ways, and messages come back as they were sent", async (t) => {
  const proxy = await startProxy(t, deflating.port);
  const page = await open(t, site);
  const sizes = [...SIZES, 40_000, 40_000];
  const url = proxy.url.replace("http", "ws");
  const { extensions, ...told } = await page.evaluate(converse, { url, sizes, close: [1000] });
  assert.match(extensions, /^permessage-deflate/);
  assert.deepEqual(told, { echoed: 2 * sizes.length, differ: [], code: 1000, reason: "", wasClean: true });
  const sent = 2 * sizes.reduce((sum, size) => sum + size);
  assert.ok(Math.max(...proxy.bytes()) < sent / 4, `${proxy.bytes()} bytes were on the wire for ${sent}`);
});

test("a close of the page is answered with its code", async (t) => {
  const page = await open(t, site);
  for (const code of [1000, 3000, 4999]) {
    const told = await page.evaluate(converse, { url: plain.url, sizes: [], close: [code, "é"] });
    assert.deepEqual([told.code, told.wasClean], [code, true]);
  }
  const told = await page.evaluate(converse, { url: plain.url, sizes: [1], close: [] });
  assert.deepEqual([told.code, told.wasClean], [1005, true]);
});

test("a message over the server's limit is refused with 1009", async (t) => {
  const page = await open(t, site);
  const code = await page.evaluate((url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send(new Uint8Array((64 << 20) + 1));
    socket.onclose = ({ code }) => resolve(code);
  }), plain.url);
  assert.equal(code, 1009);
});

test("a page of another origin is refused", async (t) => {
  const page = await open(t, stranger);
  const told = await page.evaluate(converse, { url: plain.url, sizes: [1], close: [] });
  assert.deepEqual([told.code, told.wasClean, told.echoed], [1006, false, 0]);
});
