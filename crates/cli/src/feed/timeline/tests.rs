//! The day, compared with the reference and with the rules.

use std::collections::BTreeMap;

use super::*;
fn history(day: &Day, key: &str) -> Vec<(String, Status)> {
    day.events
        .iter()
        .filter(|event| day.flights[event.flight].key == key)
        .map(|event| (event.at.to_string(), event.status))
        .collect()
}

fn at(text: &str, status: Status) -> (String, Status) {
    (text.to_owned(), status)
}

#[test]
fn the_day_has_the_events_of_the_reference_rules() {
    let day = Day::embedded().unwrap();
    let mut counts = BTreeMap::new();
    for event in &day.events {
        *counts.entry(event.status.name()).or_insert(0) += 1;
    }
    let expected = [
        ("arrived", 765),
        ("arrived_after_diversion", 2),
        ("cancelled", 192),
        ("departed", 800),
        ("late", 1271),
        ("no_arrival_recorded", 33),
        ("scheduled", 992),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
    assert_eq!(day.events.len(), 4055);
}

/// A hash (FNV-1a) of all events in order, made once from an independent derivation in Python.
#[test]
fn every_event_is_that_of_the_reference() {
    let day = Day::embedded().unwrap();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for event in &day.events {
        let number = |value: Option<i32>| value.map(|n| n.to_string()).unwrap_or_default();
        let (late, dep, arr) = match event.status {
            Status::Late { minutes } => (Some(i32::from(minutes)), None, None),
            Status::Departed { dep_delay } => (None, Some(dep_delay), None),
            Status::Arrived { arr_delay, .. } => (None, None, Some(arr_delay)),
            _ => (None, None, None),
        };
        let line = format!(
            "{} {} {} {} {} {} {}\n",
            event.at,
            day.flights[event.flight].key,
            event.status.name(),
            event.status.basis().name(),
            number(late),
            number(dep),
            number(arr),
        );
        for byte in line.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(hash, 0x58e7_2e44_bac4_6435);
}

#[test]
fn a_late_flight_that_departs_after_midnight() {
    let day = Day::embedded().unwrap();
    let late = |minutes| Status::Late { minutes };
    assert_eq!(
        history(&day, "EV4119-EWR"),
        [
            at("2013-09-12T08:00:00Z", Status::Scheduled),
            at("2013-09-13T01:18:00Z", late(15)),
            at("2013-09-13T01:33:00Z", late(30)),
            at("2013-09-13T02:03:00Z", late(60)),
            at("2013-09-13T02:33:00Z", late(90)),
            at("2013-09-13T03:03:00Z", late(120)),
            at("2013-09-13T04:02:00Z", Status::Departed { dep_delay: 179 }),
            at(
                "2013-09-13T05:14:00Z",
                Status::Arrived {
                    dep_delay: 179,
                    arr_delay: 168
                }
            ),
        ]
    );
}

#[test]
fn an_arrival_overnight_and_three_time_zones_west() {
    // Leaves Newark at 20:28 of the 12th, is at the gate in San Francisco at 00:12 of the 13th, local.
    let day = Day::embedded().unwrap();
    assert_eq!(
        history(&day, "UA617-EWR").last().unwrap(),
        &at(
            "2013-09-13T07:12:00Z",
            Status::Arrived {
                dep_delay: 183,
                arr_delay: 215
            }
        )
    );
}

#[test]
fn midnight_is_written_2400() {
    // At the gate in Minneapolis at "2400" of the 12th, local.
    let day = Day::embedded().unwrap();
    assert_eq!(
        history(&day, "9E3540-JFK").last().unwrap(),
        &at(
            "2013-09-13T05:00:00Z",
            Status::Arrived {
                dep_delay: 359,
                arr_delay: 342
            }
        )
    );
}

#[test]
fn an_early_departure_is_never_late() {
    let day = Day::embedded().unwrap();
    assert_eq!(
        history(&day, "UA1545-EWR"),
        [
            at("2013-09-12T08:00:00Z", Status::Scheduled),
            at("2013-09-12T14:51:00Z", Status::Departed { dep_delay: -7 }),
            at(
                "2013-09-12T18:43:00Z",
                Status::Arrived {
                    dep_delay: -7,
                    arr_delay: 5
                }
            ),
        ]
    );
}

#[test]
fn a_diversion_that_arrived_and_one_that_was_not_recorded() {
    let day = Day::embedded().unwrap();
    assert_eq!(
        history(&day, "VX27-JFK").last().unwrap(),
        &at(
            "2013-09-13T08:23:00Z",
            Status::ArrivedAfterDiversion { dep_delay: 81 }
        )
    );
    let lost = history(&day, "MQ3572-LGA");
    let [
        ..,
        (departed, Status::Departed { dep_delay: a }),
        (end, last),
    ] = lost.as_slice()
    else {
        panic!("{lost:?}");
    };
    assert_eq!(*last, Status::NoArrivalRecorded { dep_delay: *a });
    let minute = SignedDuration::from_mins(1);
    assert_eq!(
        end.parse::<Timestamp>().unwrap(),
        departed.parse::<Timestamp>().unwrap() + minute
    );
}

#[test]
fn a_cancelled_flight_is_said_to_be_so_at_its_scheduled_time() {
    let day = Day::embedded().unwrap();
    let index = day
        .events
        .iter()
        .find(|event| event.status == Status::Cancelled)
        .unwrap()
        .flight;
    let flight = &day.flights[index];
    assert_eq!(
        history(&day, &flight.key),
        [
            at("2013-09-12T08:00:00Z", Status::Scheduled),
            at(&flight.scheduled.timestamp().to_string(), Status::Cancelled),
        ]
    );
}
