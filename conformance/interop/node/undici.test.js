// undici: the browser's WebSocket, EventSource and fetch, as node's makers wrote them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { EventSource, WebSocket, fetch } from "undici";
import { publish, queue, startProxy, startServer } from "./support.js";

const V1 = "openline.v1";

let server;

before(async () => {
  server = await startServer();
});

after(async () => {
  await server?.stop();
});

/** Opens a line; `next()` resolves to the data of each message, then to `{ closed: code }`. */
function connect(url, protocols) {
  const ws = new WebSocket(url, protocols);
  ws.binaryType = "arraybuffer";
  const next = queue((push) => {
    ws.addEventListener("message", ({ data }) => push(data));
    ws.addEventListener("close", ({ code, wasClean }) => push({ closed: code, wasClean }));
  });
  return { ws, next, object: async () => JSON.parse(await next()) };
}

/** Objects of an endless answer, one a line. */
async function* lines(answer) {
  let rest = "";
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    const whole = (rest + chunk).split("\n");
    rest = whole.pop();
    for (const line of whole) if (line) yield JSON.parse(line);
  }
}

test("WebSocket: bare bodies come as they were published", async () => {
  const channel = server.channel("undici/bare");
  await publish(channel, "é€😀");
  const { ws, next } = connect(server.websocket("undici/bare"));
  assert.equal(await next(), "é€😀");
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i);
  await publish(channel, bytes, "application/octet-stream");
  assert.deepEqual(new Uint8Array(await next()), bytes);
  ws.close(1000, "enough");
  assert.deepEqual(await next(), { closed: 1000, wasClean: true });
});

test("WebSocket: a resumed line gets what it missed, and nothing twice", async () => {
  const channel = server.channel("undici/resume");
  const first = await publish(channel, "0");
  const second = await publish(channel, '{"n":1}', "application/json");
  const { ws, next, object } = connect(`${server.websocket("undici/*")}?since=${first}`, [V1]);
  assert.deepEqual(await object(), { cursor: first, recovered: true });
  assert.equal(ws.protocol, V1);
  const { cursor, data } = await object();
  assert.deepEqual({ cursor, data }, { cursor: second, data: { n: 1 } });
  ws.send("hello");
  assert.deepEqual(await next(), { closed: 1008, wasClean: true });
});

test("WebSocket: a drain is told with 1012", async () => {
  const draining = await startServer();
  const { ws, next } = connect(draining.websocket("a"));
  await new Promise((resolve) => ws.addEventListener("open", resolve));
  const status = draining.stop();
  assert.deepEqual(await next(), { closed: 1012, wasClean: true });
  assert.equal(await status, 0);
});

test("WebSocket: a refused handshake is an error and a close with 1006", async () => {
  const { next } = connect(`${server.websocket("undici/refused")}?since=nonsense`);
  assert.deepEqual(await next(), { closed: 1006, wasClean: false });
});

test("EventSource resumes by itself after a cut, with nothing missing and nothing twice", async () => {
  const channel = server.channel("undici/events");
  const cursors = [await publish(channel, "0")];
  const proxy = await startProxy(server.port);
  const events = new EventSource(`${proxy.url}/channels/undici/events`);
  const next = queue((push) => {
    for (const type of ["ready", "gap", "binary", "message"]) {
      events.addEventListener(type, ({ data, lastEventId }) => push({ type, data, lastEventId }));
    }
  });
  assert.equal((await next()).type, "ready");
  assert.deepEqual(await next(), { type: "message", data: "0", lastEventId: cursors[0] });
  proxy.cut();
  cursors.push(await publish(channel, "1\n2"));
  cursors.push(await publish(channel, new Uint8Array([0, 255]), "application/octet-stream"));
  assert.deepEqual(JSON.parse((await next()).data), { cursor: cursors[0], recovered: true });
  assert.deepEqual(await next(), { type: "message", data: "1\n2", lastEventId: cursors[1] });
  assert.deepEqual(await next(), { type: "binary", data: "AP8=", lastEventId: cursors[2] });
  events.close();
  await proxy.stop();
});

test("fetch: a stream of lines, resumed by its last cursor", async () => {
  const pattern = server.channel("undici/lines/**");
  const headers = { Accept: "application/x-ndjson" };
  const stop = new AbortController();
  const stream = lines(await fetch(pattern, { headers, signal: stop.signal }));
  assert.equal((await stream.next()).value.recovered, true);
  const first = await publish(server.channel("undici/lines/a"), "one");
  assert.equal((await stream.next()).value.cursor, first);
  stop.abort();
  const second = await publish(server.channel("undici/lines/b/c"), '"two"', "application/json");
  const again = new AbortController();
  const resumed = lines(await fetch(`${pattern}?since=${first}`, { headers, signal: again.signal }));
  assert.deepEqual((await resumed.next()).value, { cursor: first, recovered: true });
  const { channel, cursor, data } = (await resumed.next()).value;
  assert.deepEqual({ channel, cursor, data }, { channel: "undici/lines/b/c", cursor: second, data: "two" });
  again.abort();
});

test("fetch: polling by ETag, then held until there is news", async () => {
  const channel = server.channel("undici/poll");
  await publish(channel, "old");
  const latest = await fetch(channel);
  assert.equal(await latest.text(), "old");
  const headers = { "If-None-Match": latest.headers.get("ETag") };
  assert.equal((await fetch(channel, { headers })).status, 304);
  const held = fetch(channel, { headers: { ...headers, Prefer: "wait=30" } });
  await publish(channel, "new");
  const answer = await held;
  assert.deepEqual([answer.status, await answer.text()], [200, "new"]);
  assert.equal(answer.headers.get("Preference-Applied"), "wait=30");
});
