// The push server that one writes oneself: `ws`, and its documentation's loop over all clients.
//
//   node ws.mjs PORT
import { WebSocket, WebSocketServer } from "ws";

import { port, publishedBy } from "./publish.mjs";

const http = publishedBy((text) => {
  for (const client of server.clients) {
    if (client.readyState === WebSocket.OPEN) {
      client.send(text);
    }
  }
});
const server = new WebSocketServer({ server: http });
http.listen(port());
