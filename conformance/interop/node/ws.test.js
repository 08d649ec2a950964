// npm's `ws` as a client of the server, and of the library's echo server.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import WebSocket from "ws";
import { publish, queue, startEcho, startServer } from "./support.js";

const V1 = "openline.v1";
const EVERY_BYTE = Buffer.from({ length: 262_144 }, (_, i) => i);

let server;
let echo;

before(async () => {
  server = await startServer();
  echo = await startEcho();
});

after(async () => {
  await echo?.stop();
  await server?.stop();
});

/** Opens a line; `next()` resolves to what comes next: a string, a Buffer, or `{ closed: code }`. */
async function connect(url, protocols, options) {
  const ws = new WebSocket(url, protocols, options);
  const next = queue((push) => {
    ws.on("message", (data, binary) => push(binary ? data : data.toString()));
    ws.on("close", (code) => push({ closed: code }));
  });
  await once(ws, "open");
  return { ws, next, object: async () => JSON.parse(await next()) };
}

/** The status and the body of a refusal. */
async function refusal(url, options) {
  const ws = new WebSocket(url, options);
  const [, answer] = await once(ws, "unexpected-response");
  let body = "";
  for await (const chunk of answer) body += chunk;
  return { status: answer.statusCode, body };
}

for (const perMessageDeflate of [true, false]) {
  const options = { perMessageDeflate };
  const named = (what) => `${what} (compression ${perMessageDeflate ? "offered" : "not offered"})`;
  const channelOf = (what) => `ws-${perMessageDeflate}/${what}`;

  test(named("bare bodies come as they were published"), async () => {
    const name = channelOf("bare");
    const channel = server.channel(name);
    await publish(channel, "the latest");
    const { ws, next } = await connect(server.websocket(name), [], options);
    assert.equal(await next(), "the latest");
    await publish(channel, EVERY_BYTE, "application/octet-stream");
    assert.deepEqual(await next(), EVERY_BYTE);
    await publish(channel, '{"late":30}', "application/json");
    assert.equal(await next(), '{"late":30}');
    ws.close(1000);
    assert.deepEqual(await next(), { closed: 1000 });
  });

  test(named("a resumed line gets what it missed, in envelopes, and nothing twice"), async () => {
    const name = channelOf("resume");
    const channel = server.channel(name);
    const cursors = [];
    for (const body of ["0", "1", "2"]) cursors.push(await publish(channel, body));
    const { ws, object } = await connect(`${server.websocket(name)}?since=${cursors[0]}`, [V1], options);
    assert.equal(ws.protocol, V1);
    assert.deepEqual(await object(), { cursor: cursors[0], recovered: true });
    cursors.push(await publish(channel, EVERY_BYTE, "image/png"));
    const got = [await object(), await object(), await object()];
    assert.deepEqual(got.map(({ channel, cursor }) => [channel, cursor]), cursors.slice(1).map((cursor) => [name, cursor]));
    assert.deepEqual(got.slice(0, 2).map(({ data }) => data), ["1", "2"]);
    assert.deepEqual(Buffer.from(got[2].base64, "base64"), EVERY_BYTE);
    ws.terminate();
  });

  test(named("fragments, pings in between and large messages are echoed by the library"), async () => {
    const { ws, next } = await connect(echo.url, [], options);
    ws.send("Grüß", { fin: false });
    ws.send(" Gott", { fin: false });
    ws.ping("still there?");
    ws.send(", 🌍", { fin: true });
    const [pong] = await once(ws, "pong");
    assert.equal(pong.toString(), "still there?");
    assert.equal(await next(), "Grüß Gott, 🌍");
    const large = Buffer.alloc(8 << 20, "openline");
    ws.send(large);
    assert.deepEqual(await next(), large);
    ws.close(4000, "enough");
    assert.deepEqual(await next(), { closed: 4000 });
  });

  test(named("who speaks out of turn is closed with 1008"), async () => {
    for (const protocols of [[], [V1]]) {
      const { ws, next } = await connect(server.websocket(channelOf("mute")), protocols, options);
      if (protocols.length > 0) await next();
      ws.send("hello");
      assert.deepEqual(await next(), { closed: 1008 });
    }
  });
}

test("a draining server closes with 1012 and exits with 0", async () => {
  const draining = await startServer();
  const bare = await connect(draining.websocket("a"));
  const v1 = await connect(draining.websocket("**"), [V1]);
  await v1.next();
  const status = draining.stop();
  assert.deepEqual(await bare.next(), { closed: 1012 });
  assert.deepEqual(await v1.next(), { closed: 1012 });
  assert.equal(await status, 0);
});

test("a refusal is an HTTP answer with a problem", async () => {
  for (const [url, options, status] of [
    [server.websocket("bad//name"), {}, 400],
    [`${server.websocket("a")}?since=nonsense`, {}, 400],
    [`${server.websocket("a")}?since=000000000000:1`, {}, 410],
    [server.websocket("a"), { origin: "https://evil.example" }, 403],
    [server.websocket("a"), { protocolVersion: 8 }, 426],
  ]) {
    const answer = await refusal(url, options);
    assert.equal(answer.status, status, url);
    assert.equal(JSON.parse(answer.body).status, status);
  }
});
