// The programs under test, a proxy that can be cut, and what the tests share.

import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { createInterface } from "node:readline";

/** A built program, named by an environment variable. */
function binary(variable) {
  const path = process.env[variable];
  if (!path) throw new Error(`${variable} is not set: give the path of the built program (ci/test.sh interop does)`);
  return path;
}

/** Starts `openline serve` on a free port. `url` has no slash at its end. */
export async function startServer(...options) {
  const child = spawn(binary("OPENLINE_BIN"), ["serve", "--memory", "--listen", "127.0.0.1:0", ...options], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  const { value } = await lines[Symbol.asyncIterator]().next();
  const url = /^listening on (http:\/\/127\.0\.0\.1:\d+)\/$/.exec(value)?.[1];
  if (!url) throw new Error(`the server began with ${value}`);
  return {
    url,
    port: Number(new URL(url).port),
    channel: (name) => `${url}/channels/${name}`,
    websocket: (name) => `${url.replace("http", "ws")}/channels/${name}`,
    /** Asks for a graceful end, and resolves to the exit status. */
    async stop() {
      child.kill("SIGTERM");
      const [status] = await exited;
      return status;
    },
  };
}

/** Starts the library's example `echo`. */
export async function startEcho(...options) {
  const listener = net.createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  const child = spawn(binary("OPENLINE_ECHO"), [...options, `127.0.0.1:${port}`], { stdio: ["ignore", "inherit", "inherit"] });
  const exited = once(child, "exit");
  for (;;) {
    const socket = net.connect(port, "127.0.0.1");
    const stands = await Promise.race([
      once(socket, "connect").then(() => true, () => false),
      exited.then(() => { throw new Error("the echo server ended by itself"); }),
    ]);
    socket.destroy();
    if (stands) break;
  }
  return {
    url: `ws://127.0.0.1:${port}/`,
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** Runs the example `client_interop`, the library as a client; resolves to what it tells of the connection. */
export async function runClient(mode, url, ...options) {
  const child = spawn(binary("OPENLINE_CLIENT"), [mode, url, ...options], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  let told = "";
  for await (const chunk of child.stdout.setEncoding("utf8")) told += chunk;
  const [status] = await exited;
  if (status !== 0) throw new Error(`client_interop ${mode} ${url} ended with ${status}`);
  return JSON.parse(told);
}

/** A TCP proxy before the server. `cut` destroys every connection; new ones are let through. */
export async function startProxy(port) {
  const sockets = new Set();
  const keep = (socket, other) => {
    sockets.add(socket);
    const end = () => {
      sockets.delete(socket);
      other.destroy();
    };
    socket.on("error", end).on("close", end);
  };
  const proxy = net.createServer((client) => {
    const upstream = net.connect(port, "127.0.0.1");
    keep(client, upstream);
    keep(upstream, client);
    client.pipe(upstream).pipe(client);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    async stop() {
      proxy.close();
      this.cut();
      await once(proxy, "close");
    },
  };
}

/** Publishes on a channel; resolves to the cursor. */
export async function publish(channel, body, type = "text/plain") {
  const answer = await fetch(channel, { method: "POST", headers: { "Content-Type": type }, body });
  if (answer.status !== 201) throw new Error(`POST ${channel} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()).cursor;
}

/** Events of an emitter or an EventTarget, to be awaited one by one in their order. */
export function queue(listen) {
  const items = [];
  const waiting = [];
  listen((item) => {
    if (waiting.length > 0) waiting.shift()(item);
    else items.push(item);
  });
  return () => (items.length > 0 ? Promise.resolve(items.shift()) : new Promise((resolve) => waiting.push(resolve)));
}
