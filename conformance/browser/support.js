// What the tests stand on: the real binary, a proxy that can be cut, a browser, and a listener of its own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

/** Starts `openline demo` on a free port. `url` ends with a slash. */
export async function startDemo(speed, ...more) {
  const binary = process.env.OPENLINE_BIN;
  if (!binary) throw new Error("OPENLINE_BIN is not set: give the path of the built `openline`");
  const child = spawn(binary, ["demo", "--listen", "127.0.0.1:0", "--speed", String(speed), ...more], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  let url = null;
  for await (const line of createInterface({ input: child.stdout })) {
    url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0] ?? null;
    if (url) break;
  }
  if (!url) throw new Error("openline demo ended without telling its address");
  child.stdout.resume();
  return {
    url: `${url}/`,
    port: Number(new URL(url).port),
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** Starts the example `http2` on a free port, until the test `t` ends; tells its address. */
export async function startHttp2(t) {
  const binary = path.join(path.dirname(process.env.OPENLINE_BIN), "examples", "http2");
  const child = spawn(binary, ["127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  t.after(async () => {
    child.kill("SIGTERM");
    await exited;
  });
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error("the example `http2` ended without telling its address");
}

/** Serves one empty page on a free port, whatever is asked for. */
export async function startSite() {
  const server = http.createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<!doctype html>"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Starts the library's example `echo` on a free port. */
export async function startEcho(...options) {
  const binary = process.env.OPENLINE_ECHO;
  if (!binary) throw new Error("OPENLINE_ECHO is not set: give the path of the built example `echo`");
  const listener = net.createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  const child = spawn(binary, [...options, `127.0.0.1:${port}`], { stdio: ["ignore", "inherit", "inherit"] });
  const exited = once(child, "exit");
  for (let stands = false; !stands;) {
    const socket = net.connect(port, "127.0.0.1");
    stands = await Promise.race([
      once(socket, "connect").then(() => true, () => false),
      exited.then(() => { throw new Error("the echo server ended by itself"); }),
    ]);
    socket.destroy();
  }
  return {
    port,
    url: `ws://127.0.0.1:${port}/`,
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** A TCP proxy before the server, which can be cut and pointed elsewhere; it ends with the test `t`. */
export async function startProxy(t, port) {
  const pairs = new Set();
  const bytes = { up: 0, down: 0 };
  let through = true;
  let target = port;
  const server = net.createServer((client) => {
    if (!through) return client.destroy();
    const upstream = net.connect(target, "127.0.0.1");
    const pair = [client, upstream];
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      for (const socket of pair) socket.destroy();
    };
    for (const socket of pair) socket.setNoDelay(true).on("error", end).on("close", end);
    client.on("data", (chunk) => (bytes.up += chunk.length));
    upstream.on("data", (chunk) => (bytes.down += chunk.length));
    client.pipe(upstream).pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
  };
  t.after(() => {
    server.close();
    cut();
  });
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    /** How many went through: up to the server, and down. */
    bytes: () => [bytes.up, bytes.down],
    /** Destroys every connection; new ones are let through, unless `close` was called. */
    cut,
    /** Cuts, and lets nobody in until `open`. */
    close() {
      through = false;
      cut();
    },
    open(port = target) {
      target = port;
      through = true;
    },
  };
}

/** Keeps every publication on a pattern, in order, by NDJSON: a witness that shares no code with the page. */
export async function listen(url, pattern) {
  const stop = new AbortController();
  const answer = await fetch(`${url}channels/${pattern}`, {
    headers: { Accept: "application/x-ndjson" },
    signal: stop.signal,
  });
  if (!answer.ok) throw new Error(`GET ${pattern} answered ${answer.status}`);
  const record = [];
  const waiting = new Set();
  const check = () => {
    for (const wait of waiting) {
      if (!wait.holds(record)) continue;
      waiting.delete(wait);
      wait.resolve();
    }
  };
  const reading = (async () => {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of answer.body) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const object = line.trim() ? JSON.parse(line) : {};
        if (object.channel) record.push(object);
      }
      check();
    }
  })().catch((error) => {
    if (!stop.signal.aborted) throw error;
  });
  return {
    record,
    /** Resolves as soon as `holds(record)`. */
    until: (holds) =>
      new Promise((resolve) => {
        waiting.add({ holds, resolve });
        check();
      }),
    async stop() {
      stop.abort();
      await reading;
    },
  };
}

/** Publishes as anybody may; tells the cursor. */
export async function publish(url, channel, body) {
  const answer = await fetch(`${url}channels/${channel}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (answer.status !== 201) throw new Error(`POST ${channel} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()).cursor;
}

export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM_BIN ?? "/usr/bin/chromium",
    // The sandbox needs rights that root in a container has not; the rest keeps Chromium from calling home.
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
}

/**
 * Opens the page until the test `t` ends, and waits until it is live and shows flights. `told` gathers all that it asks
 * for, and what a healthy page never says: errors, and requests to anybody else.
 */
export async function openPage(t, browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const { origin } = new URL(url);
  const told = { errors: [], foreign: [], requests: [], sockets: [] };
  page.on("pageerror", (error) => told.errors.push(String(error.stack)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) told.errors.push(message.text());
  });
  page.on("request", (request) => {
    told.requests.push(request.url());
    if (!request.url().startsWith(origin)) told.foreign.push(request.url());
  });
  page.on("websocket", (socket) => {
    told.sockets.push(socket.url());
    if (!socket.url().startsWith(origin.replace("http", "ws"))) told.foreign.push(socket.url());
  });
  await page.goto(url);
  await page.locator('[data-testid=state][data-name="live"]').waitFor();
  await page.locator("[data-testid=row]").nth(10).waitFor();
  return { page, told };
}
