// A server on uWebSockets, as its documentation has it:
//
//   uws PORT    what a WebSocket says comes back to it, but on /websocket, where it hears what is posted to /publish
//
// No compression and no TLS. ci/bench.sh compiles it.

#include "App.h"

#include <cstdlib>
#include <iostream>
#include <string>

// All a connection has is what the library keeps of it.
struct Nothing {};

// As much as the other servers take.
constexpr unsigned int LARGEST = 64 * 1024 * 1024;
// Seconds: more it does not allow.
constexpr unsigned short LONGEST = 960;

int main(int count, char **arguments) {
    const int port = count == 2 ? std::atoi(arguments[1]) : 0;
    if (port <= 0) {
        std::cerr << "usage: uws PORT" << std::endl;
        return 2;
    }
    uWS::App app;
    app.ws<Nothing>("/websocket", {
        .maxPayloadLength = LARGEST,
        .idleTimeout = LONGEST,
        .maxBackpressure = LARGEST,
        .open = [](auto *ws) { ws->subscribe("bench"); },
    });
    app.post("/publish", [&app](auto *response, auto *) {
        response->onAborted([] {});
        response->onData([&app, response, body = std::string()](std::string_view piece, bool last) mutable {
            body.append(piece);
            if (last) {
                app.publish("bench", body, uWS::OpCode::TEXT);
                response->end();
            }
        });
    });
    app.ws<Nothing>("/*", {
        .maxPayloadLength = LARGEST,
        .idleTimeout = LONGEST,
        .maxBackpressure = LARGEST,
        .message = [](auto *ws, std::string_view message, uWS::OpCode code) { ws->send(message, code); },
    });
    app.listen("127.0.0.1", port, [port](auto *socket) {
        if (socket == nullptr) {
            std::cerr << "can't listen on port " << port << std::endl;
            std::exit(1);
        }
    });
    app.run();
}
