"""A publisher and a subscriber that do nothing wrong, in a process of their own: they tell whether a server that others
molest still serves them.

    healthy.py PORT CHANNEL

It publishes numbers one after the other and listens to them, both until its standard input ends, and then prints as JSON
what came of it. Whoever is told to come back, or is cut off, comes back with the last cursor and tries the same number
again under the same Idempotency-Key, as a client should.
"""

import http.client
import json
import sys
import threading
import time

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

PACE = 0.02
# Only to end a run that hangs.
HANGS = 60


class Healthy:
    def __init__(self, port, channel):
        self.port, self.channel = port, channel
        self.ending, self.listening, self.all_there = threading.Event(), threading.Event(), threading.Event()
        self.sent = {}  # when each number was sent first
        self.acknowledged, self.received, self.delays, self.answers = [], [], [], []
        self.refusals, self.comebacks, self.gaps = {}, 0, 0
        self.last = None  # of what was acknowledged, once nothing more is published

    def publish(self):
        connection, number = None, 0
        while not self.ending.is_set():
            self.sent.setdefault(number, time.monotonic())
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGS)
                begun = time.monotonic()
                connection.request("POST", f"/channels/{self.channel}", str(number),
                                   {"Content-Type": "application/json", "Idempotency-Key": str(number)})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection = None
                time.sleep(PACE)
                continue
            if answer.status == 201:
                self.answers.append(time.monotonic() - begun)
                self.acknowledged.append(number)
                number += 1
            else:
                self.refusals[answer.status] = self.refusals.get(answer.status, 0) + 1
            time.sleep(PACE)
        self.last = self.acknowledged[-1] if self.acknowledged else None
        if self.last is None or self.last in self.received:
            self.all_there.set()

    def listen(self):
        cursor, opened = "", 0
        while not self.all_there.is_set():
            url = f"ws://127.0.0.1:{self.port}/channels/{self.channel}?since={cursor}"
            try:
                with connect(url, subprotocols=["openline.v1"], proxy=None, open_timeout=HANGS) as socket:
                    opened += 1
                    while not self.all_there.is_set():
                        try:
                            told = json.loads(socket.recv(timeout=0.2))
                        except TimeoutError:
                            continue
                        cursor = told["cursor"]
                        if "recovered" in told:
                            # The first time there is nothing to have been missed.
                            self.gaps += opened > 1 and not told["recovered"]
                            self.listening.set()
                            continue
                        self.received.append(told["data"])
                        self.delays.append(time.monotonic() - self.sent[told["data"]])
                        if self.ending.is_set() and told["data"] == self.last:
                            self.all_there.set()
            except (OSError, WebSocketException):
                time.sleep(PACE)
        self.comebacks = opened - 1

    def report(self):
        doubled = len(self.received) - len(set(self.received))
        return {
            "acknowledged": len(self.acknowledged),
            "lost": len(set(self.acknowledged) - set(self.received)),
            "doubled": doubled,
            "out_of_order": sum(a >= b for a, b in zip(self.received, self.received[1:])) - doubled,
            "gaps": self.gaps,
            "comebacks": self.comebacks,
            "refusals": self.refusals,
            "worst_delay": max(self.delays, default=None),
            "worst_answer": max(self.answers, default=None),
        }


def main():
    healthy = Healthy(int(sys.argv[1]), sys.argv[2])
    listener = threading.Thread(target=healthy.listen, daemon=True)
    listener.start()
    healthy.listening.wait(HANGS)
    publisher = threading.Thread(target=healthy.publish, daemon=True)
    publisher.start()
    print("begun", flush=True)
    sys.stdin.read()
    healthy.ending.set()
    publisher.join(HANGS)
    listener.join(HANGS)
    print(json.dumps(healthy.report()), flush=True)


if __name__ == "__main__":
    main()
