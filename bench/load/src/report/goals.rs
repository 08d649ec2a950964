//! What was to be reached, and what was.

use super::grid::Grid;
use crate::results::{Results, Series};
use crate::servers::{BATCHING_PEERS, NCHAN, OPENLINE, PEERS, RAW, UWEBSOCKETS};

/// A line of the table: what is measured, what is to be reached, and what was.
struct Goal {
    what: String,
    reach: String,
    reached: Option<Reached>,
    /// Whether nothing is to be reached, and how it compares is all that is told.
    only_told: bool,
}

/// What was reached, and how many times it is of what it may be.
type Reached = (String, f64);

pub fn grid(results: &Results) -> Grid {
    let goals = Goals {
        results,
        list: Vec::new(),
    };
    let mut grid = Grid::new("workload", ["reach", "reached", ""].into_iter());
    for goal in goals.all() {
        let (reached, mark) = match goal.reached {
            None => ("not measured".to_owned(), "–".to_owned()),
            Some((reached, _)) if goal.only_told => (reached, "–".to_owned()),
            Some((reached, of)) if of <= 1.0 => (reached, "✓".to_owned()),
            Some((reached, of)) => {
                let missed = ((of - 1.0) * 100.0).ceil();
                (reached, format!("**missed by {missed} %**"))
            }
        };
        grid.row(&goal.what, [goal.reach, reached, mark].into_iter());
    }
    grid
}

const LATENCY: &str = "1 × 125 B × 1 deep";

/// How many times the other it is, with its spread if it is more.
fn times(own: &Series, other: &Series) -> String {
    let ratio = own.times(other);
    let (times, spread) = (ratio.median(), ratio.spread() * 100.0);
    match times {
        1.0.. if spread.is_finite() => format!("{times:.2} × {} ± {spread:.0} %", other.server),
        _ => format!("{times:.2} × {}", other.server),
    }
}

struct Goals<'a> {
    results: &'a Results,
    list: Vec<Goal>,
}

impl Goals<'_> {
    fn all(mut self) -> Vec<Goal> {
        self.echo();
        self.connections();
        self.push();
        self.codec();
        self.growth();
        self.rest();
        self.beside_uwebsockets();
        self.list
    }

    fn echo(&mut self) {
        let one_by_one = &PEERS[..];
        let any_way: Vec<&str> = PEERS.into_iter().chain(BATCHING_PEERS).collect();
        for (case, limit) in [
            ("64 × 125 B × 16 deep", 1.25),
            ("64 × 1 KiB × 16 deep", 1.5),
            ("64 × 125 B × 1 deep", 1.15),
            ("64 × 16 KiB × 4 deep", 1.5),
        ] {
            self.at_most("echo", case, OPENLINE, RAW, limit);
            if case.ends_with("16 deep") {
                let reached = self.best("echo", case, one_by_one, "cpu").and_then(|best| {
                    let own = self.series("echo", case, OPENLINE, "cpu")?;
                    let times = best.median() / own.median();
                    Some((
                        format!("{times:.1} × less than {}", best.server),
                        6.0 / times,
                    ))
                });
                self.add(
                    "echo",
                    case,
                    "≥ 6 × less than the best Rust peer that sends one by one",
                    reached,
                );
            }
            self.no_peer_lower("echo", case, &any_way, "cpu", "no Rust peer lower");
        }
        for case in [
            "64 × 125 B × 16 deep",
            "64 × 1 KiB × 16 deep",
            "64 × 125 B × 1 deep",
            "64 × 16 KiB × 4 deep",
        ] {
            self.at_most("tls", case, OPENLINE, RAW, 1.2);
        }
        for measure in ["p50", "p99"] {
            let reach = format!("no Rust peer lower: {measure}");
            self.no_peer_lower("latency", LATENCY, one_by_one, measure, &reach);
        }
    }

    fn connections(&mut self) {
        for measure in ["opened", "used"] {
            self.bytes("idle", "WebSocket", measure, 1_000.0);
        }
        self.bytes("subscribers", "WebSocket", "opened", 1_000.0);
        self.bytes("subscribers", "Server-Sent Events", "opened", 12.0 * 1024.0);
        self.bytes("subscribers", "held long poll", "opened", 12.0 * 1024.0);
        self.bytes("subscribers", "WebSocket over TLS", "opened", 12.0 * 1024.0);
        let case = "TCP accept to 101";
        let reached = self
            .pair("connects", case, OPENLINE, RAW, "cpu")
            .map(|(own, raw)| {
                let limit = raw * 1.2 + 15_000.0;
                let shown = format!("{:.1} µs of {:.1} µs", own / 1000.0, limit / 1000.0);
                (shown, own / limit)
            });
        self.add("connects", case, "≤ 1.2 × raw + 15 µs", reached);
    }

    fn push(&mut self) {
        for subscribers in ["1,000", "10,000"] {
            let case = format!("{subscribers} subscribers, 1 outstanding");
            self.at_most("fanout", &case, OPENLINE, RAW, 1.15);
            let case = format!("{subscribers} subscribers, 8 outstanding");
            self.at_most("fanout", &case, OPENLINE, RAW, 1.3);
            let at_once = format!("{subscribers} subscribers, 8 at once");
            self.at_most("fanout", &at_once, OPENLINE, RAW, 1.3);
            let reached = self
                .pair("fanout", &case, OPENLINE, NCHAN, "cpu")
                .map(|(own, nchan)| {
                    let times = nchan / own;
                    (format!("{times:.1} × less"), 4.0 / times)
                });
            self.add("fanout", &case, "≥ 4 × less than Nchan", reached);
        }
        for case in self.cases("fanout-deflate", "plain") {
            self.at_most("fanout-deflate", &case, "permessage-deflate", "plain", 1.2);
        }
        self.at_most("publish", "125 B", OPENLINE, "hyper", 1.5);
    }

    fn codec(&mut self) {
        let reached = self
            .pair("codec", "mask 1 MiB", OPENLINE, "memcpy", "time")
            .map(|(own, memcpy)| {
                let share = memcpy / own;
                (format!("{share:.2} ×"), 0.8 / share)
            });
        self.add("codec", "mask 1 MiB", "≥ 0.8 × memcpy's speed", reached);
        let case = "receive 64 KiB of mixed text";
        let reached = self.own_against("codec", case, "binary, then simdutf8", "time");
        self.add("codec", case, "at simdutf8's speed", reached);
        for case in [
            "decode a frame",
            "encode a frame",
            "receive a message",
            "send a message",
        ] {
            let all = self
                .results
                .of("codec", "time")
                .filter(|series| series.case == case);
            let peers: Vec<&str> = all
                .map(|series| series.server.as_str())
                .filter(|&name| name != OPENLINE)
                .collect();
            self.no_peer_lower("codec", case, &peers, "time", "no peer lower");
        }
    }

    /// What grows with the kernel's own cost is no growth of ours: times raw are compared, not times.
    fn growth(&mut self) {
        let speaking = ["64 speak", "all speak"].map(|speak| {
            let case = |open| format!("{open} open, {speak}");
            ("growth-connections", case("1,000"), case("15,000"))
        });
        let subscribers = |count| format!("{count} subscribers");
        let fanout = (
            "growth-subscribers",
            subscribers("1,000"),
            subscribers("10,000"),
        );
        for (workload, few, many) in speaking.into_iter().chain([fanout]) {
            let times_raw = |case: &str| {
                let (own, raw) = self.pair(workload, case, OPENLINE, RAW, "cpu")?;
                Some(own / raw)
            };
            let reached = times_raw(&few).zip(times_raw(&many)).map(|(few, many)| {
                let shown = format!("{many:.2} × raw, of {few:.2} ×");
                (shown, many / few / 1.1)
            });
            let reach = format!("≤ 1.1 × as far from raw as {few}");
            self.add(workload, &many, &reach, reached);
        }
        for server in ["echo server", "push server"] {
            let bytes = |case| {
                Some(
                    self.series("growth-memory", case, server, "opened")?
                        .median(),
                )
            };
            let both = bytes("1,000 open").zip(bytes("15,000 open"));
            let reached = both.map(|(few, many)| {
                let shown = format!("{many:.0} of {few:.0} bytes each");
                (shown, many / few / 1.1)
            });
            let case = format!("{server}, 15,000 open");
            self.add("growth-memory", &case, "≤ 1.1 × as with 1,000", reached);
        }
    }

    fn rest(&mut self) {
        for case in self.cases("workers", "one worker") {
            self.at_most("workers", &case, "two workers", "one worker", 1.1);
        }
        let case = "1,000 subscribers, 64 KiB";
        let both = |measure| {
            let stalls = self.series("stalled", case, "one stalls", measure)?;
            Some((stalls, self.series("stalled", case, "all read", measure)?))
        };
        let p99 = both("p99").map(|(stalls, read)| {
            let times = stalls.median() / read.median();
            (
                format!("{times:.2} ×"),
                times / (1.0 + stalls.spread() + read.spread()),
            )
        });
        let grown = both("grown").map(|(stalls, read)| {
            let more = (stalls.median() - read.median()) / f64::from(1 << 20);
            (format!("{more:.2} MiB"), more)
        });
        self.add(
            "stalled",
            case,
            "the others' p99 does not move beyond its spread",
            p99,
        );
        self.add(
            "stalled",
            case,
            "its memory stays under its limit of 1 MiB",
            grown,
        );
    }

    /// It is in C++, with other means: how far it is is told, whatever it is.
    fn beside_uwebsockets(&mut self) {
        let measures = [
            ("echo", "cpu", "CPU a message"),
            ("latency", "p50", "p50"),
            ("latency", "p99", "p99"),
            ("idle", "opened", "memory"),
            ("idle", "used", "memory after traffic"),
            ("subscribers", "opened", "memory"),
            ("connects", "cpu", "CPU a connection"),
            ("fanout", "cpu", "CPU a delivery"),
        ];
        for (workload, measure, what) in measures {
            for case in self.cases(workload, UWEBSOCKETS) {
                let own = self.series(workload, &case, OPENLINE, measure);
                let other = self.series(workload, &case, UWEBSOCKETS, measure);
                let reached = own
                    .zip(other)
                    .map(|(own, other)| (times(own, other), f64::NAN));
                self.add(
                    workload,
                    &case,
                    &format!("beside uWebSockets: {what}"),
                    reached,
                );
                if let Some(told) = self.list.last_mut() {
                    told.only_told = true;
                }
            }
        }
    }

    /// The cases of a workload that a server has.
    fn cases(&self, workload: &str, server: &str) -> Vec<String> {
        let mut cases: Vec<String> = Vec::new();
        let all = self.results.of_any(workload);
        for series in all.filter(|series| series.server == server) {
            if !cases.contains(&series.case) {
                cases.push(series.case.clone());
            }
        }
        cases
    }

    fn add(&mut self, workload: &str, case: &str, reach: &str, reached: Option<Reached>) {
        let what = match case {
            "" => workload.to_owned(),
            case => format!("{workload}: {case}"),
        };
        self.list.push(Goal {
            what,
            reach: reach.to_owned(),
            reached,
            only_told: false,
        });
    }

    fn series(&self, workload: &str, case: &str, server: &str, measure: &str) -> Option<&Series> {
        self.results.find(workload, case, server, measure)
    }

    fn pair(
        &self,
        workload: &str,
        case: &str,
        one: &str,
        other: &str,
        measure: &str,
    ) -> Option<(f64, f64)> {
        let median = |server| Some(self.series(workload, case, server, measure)?.median());
        Some((median(one)?, median(other)?))
    }

    fn best(&self, workload: &str, case: &str, servers: &[&str], measure: &str) -> Option<&Series> {
        let found = servers
            .iter()
            .filter_map(|server| self.series(workload, case, server, measure));
        found.min_by(|a, b| a.median().total_cmp(&b.median()))
    }

    fn at_most(&mut self, workload: &str, case: &str, server: &str, reference: &str, limit: f64) {
        let reached =
            self.pair(workload, case, server, reference, "cpu")
                .map(|(own, reference)| {
                    let times = own / reference;
                    (format!("{times:.2} ×"), times / limit)
                });
        self.add(workload, case, &format!("≤ {limit} × {reference}"), reached);
    }

    /// The other is lower if it is by more than their ratio spreads from round to round.
    fn own_against(
        &self,
        workload: &str,
        case: &str,
        other: &str,
        measure: &str,
    ) -> Option<Reached> {
        let own = self.series(workload, case, OPENLINE, measure)?;
        let other = self.series(workload, case, other, measure)?;
        let ratio = own.times(other);
        Some((times(own, other), ratio.median() / (1.0 + ratio.spread())))
    }

    fn no_peer_lower(
        &mut self,
        workload: &str,
        case: &str,
        peers: &[&str],
        measure: &str,
        reach: &str,
    ) {
        let best = self
            .best(workload, case, peers, measure)
            .map(|best| best.server.clone());
        let reached = best.and_then(|best| self.own_against(workload, case, &best, measure));
        self.add(workload, case, reach, reached);
    }

    fn bytes(&mut self, workload: &str, case: &str, measure: &str, limit: f64) {
        let reached = self
            .series(workload, case, OPENLINE, measure)
            .map(|series| {
                let bytes = series.median();
                (format!("{bytes:.0} bytes"), bytes / limit)
            });
        let when = if measure == "used" {
            ", after traffic"
        } else {
            ""
        };
        self.add(
            workload,
            &format!("{case}{when}"),
            &format!("≤ {limit:.0} bytes each"),
            reached,
        );
    }
}
