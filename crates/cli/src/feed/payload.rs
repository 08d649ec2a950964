//! What is published of an event: the flight's whole state, so that the latest publication is enough for a board.

use serde::Serialize;

use super::event::{Event, Flight};

/// The JSON that a publication on a flight's channel carries.
#[derive(Serialize)]
struct Payload<'a> {
    flight: &'a str,
    carrier: &'a str,
    airline: &'a str,
    number: u16,
    tailnum: Option<&'a str>,
    origin: &'a str,
    origin_name: &'a str,
    dest: &'a str,
    dest_city: &'a str,
    dest_name: &'a str,
    scheduled: String,
    status: &'static str,
    basis: &'static str,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    late_min: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dep_delay: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arr_delay: Option<i32>,
    run: u32,
}

/// The channel of a flight: `flights/UA1545-EWR`.
pub(super) fn channel(flight: &Flight) -> String {
    format!("flights/{}", flight.key)
}

/// The body of the publication, a JSON object on one line.
pub(super) fn body(flight: &Flight, event: &Event, run: u32) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Payload {
        flight: &flight.key,
        carrier: &flight.carrier,
        airline: &flight.airline,
        number: flight.number,
        tailnum: flight.tailnum.as_deref(),
        origin: &flight.origin,
        origin_name: &flight.origin_name,
        dest: &flight.dest,
        dest_city: &flight.dest_city,
        dest_name: &flight.dest_name,
        scheduled: flight
            .scheduled
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string(),
        status: event.status.name(),
        basis: event.status.basis().name(),
        at: event.at.to_string(),
        late_min: event.status.late_min(),
        dep_delay: event.status.dep_delay(),
        arr_delay: event.status.arr_delay(),
        run,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::feed::Day;

    fn bodies(key: &str, run: u32) -> Vec<Value> {
        let day = Day::embedded().unwrap();
        day.events
            .iter()
            .filter(|event| day.flights[event.flight].key == key)
            .map(|event| {
                let body = body(&day.flights[event.flight], event, run).unwrap();
                serde_json::from_slice(&body).unwrap()
            })
            .collect()
    }

    #[test]
    fn an_arrival_tells_the_whole_flight() {
        assert_eq!(
            bodies("UA1545-EWR", 1).pop().unwrap(),
            json!({
                "flight": "UA1545-EWR", "carrier": "UA", "airline": "United Air Lines Inc.", "number": 1545,
                "tailnum": "N75851",
                "origin": "EWR", "origin_name": "Newark Liberty International Airport",
                "dest": "IAH", "dest_city": "Houston", "dest_name": "George Bush Intcntl/Houston Airport",
                "scheduled": "2013-09-12T10:58:00-04:00",
                "status": "arrived", "basis": "data", "at": "2013-09-12T18:43:00Z",
                "dep_delay": -7, "arr_delay": 5, "run": 1,
            })
        );
    }

    #[test]
    fn each_status_has_only_the_fields_that_it_knows() {
        let of = |key, status: &str| {
            let found = bodies(key, 3)
                .into_iter()
                .find(|body| body["status"] == status);
            let body = found.unwrap_or_else(|| panic!("{key} is never {status}"));
            assert_eq!(body["run"], 3);
            let field = |name: &str| body.get(name).cloned();
            (field("late_min"), field("dep_delay"), field("arr_delay"))
        };
        assert_eq!(of("EV4119-EWR", "scheduled"), (None, None, None));
        assert_eq!(of("EV4119-EWR", "late"), (Some(json!(15)), None, None));
        assert_eq!(of("EV4119-EWR", "departed"), (None, Some(json!(179)), None));
        let diverted = of("VX27-JFK", "arrived_after_diversion");
        assert_eq!(diverted, (None, Some(json!(81)), None));
    }

    #[test]
    fn a_missing_tail_number_is_null() {
        assert_eq!(bodies("9E3285-JFK", 1)[0]["tailnum"], Value::Null);
    }

    #[test]
    fn every_channel_is_a_valid_name() {
        for flight in &Day::embedded().unwrap().flights {
            let channel = channel(flight);
            assert!(
                channel.parse::<openline_server::Channel>().is_ok(),
                "{channel}"
            );
        }
    }
}
