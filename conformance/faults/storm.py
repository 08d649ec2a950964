"""Very many connections within a few seconds, from a process of its own.

    storm.py PORT COUNT PATH

Each asks for a WebSocket. Prints as JSON how they were answered, holds those that were let in until its standard input ends.
"""

import json
import resource
import select
import socket
import sys
import time

# Connections that are on their way at once: no more than the server's backlog holds (1,024), past which the system tries
# again only after a second.
AT_ONCE = 1000
# Only to end a storm that hangs.
HANGS = 60


def storm(port, count, path):
    request = (f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode()
    poll, on_their_way, held, answers = select.epoll(), {}, [], {}
    begun, opened = time.monotonic(), 0
    while (opened < count or on_their_way) and time.monotonic() - begun < HANGS:
        while opened < count and len(on_their_way) < AT_ONCE:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            poll.register(sock, select.EPOLLOUT)
            on_their_way[sock.fileno()] = sock
            opened += 1
        for number, event in poll.poll(1):
            sock = on_their_way[number]
            try:
                if event & select.EPOLLOUT and not event & select.EPOLLIN:
                    sock.send(request)
                    poll.modify(sock, select.EPOLLIN)
                    continue
                head = sock.recv(4096)
            except OSError:
                head = b""
            answer = head[9:12].decode() if head.startswith(b"HTTP/1.1 ") else "closed"
            answers[answer] = answers.get(answer, 0) + 1
            poll.unregister(sock)
            del on_their_way[number]
            if answer == "101":
                held.append(sock)
            else:
                sock.close()
    return answers | {"none": len(on_their_way)}, time.monotonic() - begun, held


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    answers, seconds, held = storm(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    print(json.dumps({"answers": answers, "seconds": round(seconds, 1)}), flush=True)
    sys.stdin.read()
    del held


if __name__ == "__main__":
    main()
