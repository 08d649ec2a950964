//! A client and a server joined by pipes, and operations in any order, against a model.
//!
//! The model knows what was accepted to be sent, what left, and what broke. By it: what arrives is what was accepted, in
//! order and once; all of it, if nothing broke; each command is refused exactly when it must be; a close is clean exactly if
//! both Close frames stand and nothing failed; and every connection that closes comes to an end.

use std::time::{Duration, Instant};

use openline_proto::{CloseCode, CloseReason, Config, Role};

use crate::choices::Choices;
use crate::hearing::Told;
use crate::model::Side;
use crate::pair::{End, deflate_settings, negotiate, start};

struct World {
    now: Instant,
    sides: [Side; 2],
    /// Makes each ping another.
    pings: u32,
}

/// Tries one input: limits, deadlines and compression of both, then operations.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut world = World::choose(&mut choices);
    let mut steps = 0;
    while !choices.is_empty() && steps < 400 {
        world.step(&mut choices);
        world.check();
        steps += 1;
    }
    world.finish(data.len() % 2);
}

impl World {
    fn choose(choices: &mut Choices<'_>) -> Self {
        let configs = [config(choices), config(choices)];
        let (client, server) = (deflate_settings(choices), deflate_settings(choices));
        let (offered, granted) = negotiate(client, server);
        let [client, server] = [
            configs[0].clone().deflate(client),
            configs[1].clone().deflate(server),
        ];
        Self {
            now: start(),
            sides: [
                Side::new(
                    client.clone(),
                    End::new(Role::Client, client, offered, start()),
                    offered.is_some(),
                ),
                Side::new(
                    server.clone(),
                    End::new(Role::Server, server, granted, start()),
                    granted.is_some(),
                ),
            ],
            pings: 0,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let how = choices.byte();
        let at = usize::from(how & 1);
        let now = self.now;
        match how >> 1 & 15 {
            0 | 1 => self.sides[at].send(how >> 5, choices),
            2 => self.sides[at].send_piece(how >> 5, choices),
            3 => {
                self.pings += 1;
                let size = choices.byte().max(4);
                let mut payload = self.pings.to_be_bytes().to_vec();
                payload.resize(size.into(), b'p');
                self.sides[at].ping(payload);
            }
            4 => self.sides[at].close(now, choices),
            5 | 6 => self.sides[at].write(choices.size(), usize::from(how >> 5) + 1),
            7 | 8 => {
                let count = choices.size();
                self.carry(at, count);
            }
            9 if self.sides[at].end.connection.queued() > 0 => {
                self.sides[at].end.connection.handle_blocked(now);
            }
            10 => {
                self.now += Duration::from_millis(u64::from(choices.byte()) * 500);
                self.timeouts();
            }
            11 => self.timeouts(),
            12 if how >> 5 == 7 => self.end_of_stream(at),
            13 if how >> 5 == 7 => self.sides[at].write_error(now),
            14 => self.settle(),
            _ => self.shut_down(),
        }
    }

    /// Up to so many bytes arrive at the other end.
    fn carry(&mut self, from: usize, count: usize) {
        let now = self.now;
        let pipe = &mut self.sides[from].pipe;
        let bytes: Vec<u8> = pipe.drain(..count.min(pipe.len())).collect();
        let [client, server] = &mut self.sides;
        let (from, to) = if from == 0 {
            (client, server)
        } else {
            (server, client)
        };
        if !to.deaf {
            to.end.hear(now, &bytes);
            to.note(&from.accepted);
        }
    }

    fn timeouts(&mut self) {
        let now = self.now;
        for side in &mut self.sides {
            side.timeouts(now);
        }
    }

    /// `at` hears no more, whatever is under way to it.
    fn end_of_stream(&mut self, at: usize) {
        let now = self.now;
        self.sides[1 - at].pipe.clear();
        self.sides[at].eof(now);
    }

    /// The streams end where the ends want it, behind what is under way.
    fn shut_down(&mut self) {
        for at in 0..2 {
            let side = &mut self.sides[at];
            let over = side.end.connection.wants_shutdown() || side.end.connection.is_done();
            if over && !side.shut && side.pipe.is_empty() {
                side.shut = true;
                self.end_of_stream(1 - at);
            }
        }
    }

    /// Carries all there is, until nothing moves.
    fn settle(&mut self) {
        loop {
            for side in &mut self.sides {
                side.write(usize::MAX, 4);
            }
            let rests = |side: &Side| {
                side.pipe.is_empty() && (side.mute || side.end.connection.queued() == 0)
            };
            if self.sides.iter().all(rests) {
                break;
            }
            self.carry(0, usize::MAX);
            self.carry(1, usize::MAX);
        }
        self.shut_down();
    }

    fn check(&mut self) {
        for side in &mut self.sides {
            side.walk();
            side.check();
        }
    }

    /// Whatever happened: what can arrive does, a close ends, and in time.
    fn finish(&mut self, closer: usize) {
        self.settle();
        self.check();
        let healthy = self.sides.iter().all(|side| side.by_peer.is_none());
        if healthy {
            for (from, to) in [(0, 1), (1, 0)] {
                let (from, to) = (&self.sides[from], &self.sides[to]);
                assert_eq!(
                    to.arrived,
                    from.accepted.len(),
                    "all that was accepted arrives"
                );
                assert_eq!(
                    last_pong(&from.end.told),
                    last_ping(&to.end.told),
                    "the last ping is answered"
                );
            }
            let closed =
                self.sides[closer]
                    .end
                    .connection
                    .close(self.now, CloseCode::NORMAL, "done");
            assert_eq!(closed, Ok(()));
            self.sides[closer].said(
                false,
                CloseReason {
                    code: CloseCode::NORMAL,
                    reason: "done".into(),
                },
            );
            self.settle();
            self.check();
            for side in &self.sides {
                assert!(
                    side.end
                        .connection
                        .closed()
                        .is_some_and(|closed| closed.clean),
                    "nothing broke"
                );
            }
        }
        // A message that is under way has a sixteenth of its time between two deadlines.
        for _ in 0..64 {
            self.settle();
            self.check();
            let deadlines = self.sides.iter().filter(|side| side.by_peer.is_some());
            let Some(next) = deadlines
                .filter_map(|side| side.end.connection.poll_timeout())
                .min()
            else {
                break;
            };
            self.now = self.now.max(next);
            self.timeouts();
        }
        for side in self.sides.iter().filter(|side| side.by_peer.is_some()) {
            assert!(side.end.connection.is_done(), "a close comes to an end");
            assert_eq!(
                side.end.connection.poll_timeout(),
                None,
                "and nothing is waited for then"
            );
        }
    }
}

fn ping(told: &Told) -> Option<&Vec<u8>> {
    match told {
        Told::Ping(payload) => Some(payload),
        _ => None,
    }
}

fn last_ping(told: &[Told]) -> Option<&Vec<u8>> {
    told.iter().rev().find_map(ping)
}

fn last_pong(told: &[Told]) -> Option<&Vec<u8>> {
    told.iter().rev().find_map(|told| match told {
        Told::Pong(payload) => Some(payload),
        _ => None,
    })
}

fn config(choices: &mut Choices<'_>) -> Config {
    let flags = choices.byte();
    let seconds = Duration::from_secs;
    Config::default()
        .max_outbox([1 << 20, 0, 100, 5000][usize::from(flags & 3)])
        .ping_interval(
            [
                Some(seconds(30)),
                None,
                Some(seconds(1)),
                Some(Duration::MAX),
            ][usize::from(flags >> 2 & 3)],
        )
        .idle_timeout((flags & 0x10 != 0).then_some(seconds(45)))
        .message_timeout(seconds(if flags & 0x20 == 0 { 60 } else { 2 }))
        .write_timeout(seconds(if flags & 0x40 == 0 { 60 } else { 2 }))
        .close_timeout(if flags & 0x80 == 0 {
            seconds(5)
        } else {
            seconds(0)
        })
}

/// Conversations that end well, and in each of the other ways.
pub fn seeds() -> Vec<Vec<u8>> {
    // The lowest bit says who; 0: send, 4: a piece, 6: ping, 8: close, 10: write, 14: carry, 18: blocked, 20: time, 28: settle, 30: shut
    // down; with all of the highest three, 24: the stream ends, 26: writing fails.
    let endings: [&[u8]; 13] = [
        &[],
        &[
            0x24, 2, b'a', 0xc3, 6, 9, 0x04, 1, 0xa4, 0x84, 1, 0xc3, 0x84, 1, 0xa4, 28,
        ],
        &[8, 0, 3, 10, 200, 14, 200, 28],
        &[8, 0, 3, 9, 1, 5, 28, 30, 28],
        &[10, 3, 14, 3, 0xf8, 28],
        &[10, 3, 14, 3, 0xf9, 28],
        &[8, 0, 0, 10, 3, 0xfa, 14, 200, 28],
        &[8, 0, 0, 10, 200, 0xfa, 14, 200, 28],
        &[10, 3, 18, 20, 130, 20, 130],
        &[20, 70, 28, 20, 70, 20, 70],
        &[20, 70, 20, 70, 20, 70, 28],
        &[8, 0, 0, 20, 3, 20, 20, 28],
        &[9, 0, 0, 11, 255, 15, 255, 10, 2, 0xf8, 28, 28],
    ];
    let settings: [&[u8]; 5] = [
        &[0, 0, 0, 0],
        &[1, 2, 1, 0, 1, 0],
        &[0x0a, 0x74, 0, 0],
        &[0xe7, 0x80, 0x0f, 0x77, 1, 0],
        &[0x50, 0x60, 0, 0],
    ];
    let mut seeds = Vec::new();
    for ending in endings {
        for setting in settings {
            let talk = [
                0, 5, b'h', b'e', b'l', b'l', b'o', 0x21, 0xc0, b'x', 210, 6, 9, 7, 130, 10, 30,
                15, 7, 0x60, 3, b'a', b'b', b'c',
            ];
            seeds.push([setting, &talk, ending].concat());
        }
    }
    // Both close at once, and of the client's Close frame all but the last byte leaves.
    seeds.push(vec![
        0, 0, 0, 0, 8, 0, 0, 9, 0, 0, 11, 200, 15, 200, 10, 7, 14, 200, 28,
    ]);
    seeds
}
