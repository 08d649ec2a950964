// An HTTP server on the loopback interface that hands the body of each `POST /publish` to `publish`, and answers then.
import { createServer } from "node:http";

export function publishedBy(publish) {
  return createServer(async (request, response) => {
    if (request.method !== "POST" || request.url !== "/publish") {
      response.writeHead(404, { "Content-Length": 0 }).end();
      return;
    }
    const pieces = [];
    for await (const piece of request) {
      pieces.push(piece);
    }
    publish(Buffer.concat(pieces).toString());
    response.writeHead(201, { "Content-Length": 0 }).end();
  });
}

export function port() {
  return { host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 };
}
