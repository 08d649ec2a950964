// Socket.IO: all clients are in one room, and are told by one `emit`.
//
//   node socket-io.mjs PORT
import { Server } from "socket.io";

import { port, publishedBy } from "./publish.mjs";

const http = publishedBy((text) => io.to("bench").emit("message", text));
// No ping falls into a measurement.
const io = new Server(http, { transports: ["websocket"], pingInterval: 600_000 });
io.on("connection", (socket) => socket.join("bench"));
http.listen(port());
