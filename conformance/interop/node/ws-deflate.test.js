// permessage-deflate with npm's `ws` in both roles: each parameter by itself, and all at once.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import WebSocket, { WebSocketServer } from "ws";
import { runClient, startEcho } from "./support.js";

const BITS = [8, 9, 10, 11, 12, 13, 14, 15];
const NONE = {
  serverNoContextTakeover: undefined, clientNoContextTakeover: undefined,
  serverMaxWindowBits: undefined, clientMaxWindowBits: undefined,
};
const SETTINGS = [
  NONE,
  { ...NONE, serverNoContextTakeover: true },
  { ...NONE, clientNoContextTakeover: true },
  ...BITS.map((bits) => ({ ...NONE, serverMaxWindowBits: bits })),
  ...BITS.map((bits) => ({ ...NONE, clientMaxWindowBits: bits })),
  ...BITS.map((bits) => ({
    serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: bits, clientMaxWindowBits: 23 - bits,
  })),
];
const NAMES = {
  serverNoContextTakeover: "server_no_context_takeover",
  clientNoContextTakeover: "client_no_context_takeover",
  serverMaxWindowBits: "server_max_window_bits",
  clientMaxWindowBits: "client_max_window_bits",
};

let echo;

before(async () => {
  echo = await startEcho("--deflate");
});

after(async () => {
  await echo?.stop();
});

/** Settings by their names in the handshake, without those that are not set. */
function parameters(settings) {
  const set = Object.entries(settings).filter(([, value]) => value !== undefined);
  return Object.fromEntries(set.map(([name, value]) => [NAMES[name], value]));
}

/** Parameters as a `Sec-WebSocket-Extensions`. */
function extension(parameters) {
  const parts = Object.entries(parameters).map(([name, value]) => (value === true ? name : `${name}=${value}`));
  return ["permessage-deflate", ...parts].join("; ");
}

/** The parameters of a `Sec-WebSocket-Extensions`, in whatever order they stand. */
function inOrder(extension) {
  return extension.split("; ").sort();
}

/** Bytes that can't be made smaller, the same at each call. */
function noise(length) {
  let state = 1;
  return Buffer.from({ length }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24);
}

for (const settings of SETTINGS) {
  const asked = parameters(settings);

  test(`ws as a client of the library: ${extension(asked)}`, async () => {
    const ws = new WebSocket(echo.url, { perMessageDeflate: { ...settings, threshold: 0 } });
    const [answer] = await once(ws, "upgrade");
    const granted = { ...asked };
    // What says no more than the default is not repeated to a client, but for the server's own window.
    if (granted.client_max_window_bits === 15) delete granted.client_max_window_bits;
    assert.deepEqual(inOrder(answer.headers["sec-websocket-extensions"]), inOrder(extension(granted)));
    if (ws.readyState !== WebSocket.OPEN) await once(ws, "open");
    const line = JSON.stringify({ flight: "UA1545", gate: "C71" }).repeat(20);
    const messages = [line, line, noise(400), Buffer.concat([noise(20_000), noise(20_000)]), noise(400), ""];
    for (const message of messages) {
      const received = once(ws, "message");
      ws.send(message);
      const [data, binary] = await received;
      assert.deepEqual(binary ? data : data.toString(), message);
    }
    // In three fragments, the second empty; a ping between them.
    const whole = once(ws, "message");
    ws.send(line, { fin: false });
    ws.ping();
    ws.send("", { fin: false });
    ws.send(line, { fin: true });
    assert.equal((await whole)[0].toString(), line + line);
    ws.close(1000);
    const [code] = await once(ws, "close");
    assert.equal(code, 1000);
    const sent = messages.reduce((sum, message) => sum + message.length, 0) + 2 * line.length;
    assert.ok(ws._socket.bytesRead < sent, `${ws._socket.bytesRead} bytes came for ${sent}`);
  });

  test(`ws as a server for the library: ${extension(asked)}`, async (t) => {
    const server = new WebSocketServer({
      host: "127.0.0.1", port: 0, perMessageDeflate: { ...settings, threshold: 0 }, maxPayload: 1 << 24,
    });
    t.after(() => server.close());
    await once(server, "listening");
    server.on("connection", (ws) => ws.on("message", (data, binary) => ws.send(data, { binary })));
    const told = await runClient("talk", `ws://127.0.0.1:${server.address().port}/`, "--deflate", "");
    assert.deepEqual([told.messages, told.received.code, told.clean], [23, 1000, true]);
    assert.deepEqual(inOrder(told.wire.extensions), inOrder(extension(asked)));
    // 61,000 bytes of noise are among the messages, of which 40,000 come again behind 20,000.
    const reach = (bits, alone) => ((bits ?? 15) < 15 ? 65_000 : alone ? 45_000 : 25_000);
    const { received, sent } = told.wire;
    assert.ok(received < reach(settings.serverMaxWindowBits, settings.serverNoContextTakeover), `${received} received`);
    assert.ok(sent < reach(settings.clientMaxWindowBits, settings.clientNoContextTakeover), `${sent} sent`);
  });
}
