//! The rules that turn the day's records into a time line of events, honest to the data.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::event::{Event, Flight, Status};
use super::table::{Record, Tables};

/// Minutes past schedule at which a flight still at the gate is said to be late.
const LATE_AFTER: [u16; 11] = [15, 30, 60, 90, 120, 180, 240, 300, 360, 480, 600];

/// All three origins keep New York's time.
const ORIGIN_ZONE: &str = "America/New_York";

/// Local time at which the board opens and all flights are announced.
const BOARD_OPENS_AT_HOUR: i64 = 4;

/// One day: its flights, and what happened to them in the order in which it happened.
#[derive(Debug)]
pub(crate) struct Day {
    pub(super) flights: Vec<Flight>,
    pub(super) events: Vec<Event>,
}

/// Why the records cannot be turned into a time line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DataError {
    /// A table is not what its columns promise.
    #[error("the flight data cannot be read")]
    Table(#[from] csv::Error),
    /// A date, time or time zone is impossible.
    #[error("flight {flight} has an impossible time")]
    Time {
        /// The flight's key.
        flight: String,
        /// What is wrong with it.
        source: jiff::Error,
    },
    /// A code has no entry in the airlines' or airports' table.
    #[error("flight {flight} names {code}, which is in no table")]
    UnknownCode {
        /// The flight's key.
        flight: String,
        /// The airline's or airport's code.
        code: String,
    },
    /// Two columns of one record contradict each other.
    #[error("flight {flight} contradicts itself: {columns}")]
    Contradiction {
        /// The flight's key.
        flight: String,
        /// The columns that disagree.
        columns: &'static str,
    },
}

impl Day {
    /// The day that is built into the program.
    ///
    /// # Errors
    /// When the embedded tables break their own rules, which the tests exclude.
    pub(crate) fn embedded() -> Result<Self, DataError> {
        Self::derive(&Tables::embedded()?)
    }

    /// How many flights the day has.
    pub(crate) fn flights(&self) -> usize {
        self.flights.len()
    }

    fn derive(tables: &Tables) -> Result<Self, DataError> {
        let mut zones = HashMap::new();
        let mut flights = Vec::with_capacity(tables.flights.len());
        let mut events = Vec::new();
        for record in &tables.flights {
            let key = format!("{}{}-{}", record.carrier, record.flight, record.origin);
            let mut line = Line::new(tables, &mut zones, record, &key)?;
            line.derive(record, &key)?;
            let index = flights.len();
            events.extend(line.events.iter().map(|&(at, status)| Event {
                at,
                flight: index,
                status,
            }));
            flights.push(flight(tables, record, key, line.scheduled)?);
        }
        // A stable sort: what one flight says within one minute keeps its order.
        events.sort_by(|a, b| {
            let key = |event: &Event| (event.at, flights[event.flight].key.as_str());
            key(a).cmp(&key(b))
        });
        Ok(Self { flights, events })
    }
}

/// The events of one flight while they are derived.
struct Line {
    opens: Timestamp,
    scheduled: Zoned,
    dest_zone: TimeZone,
    events: Vec<(Timestamp, Status)>,
}

impl Line {
    fn new(
        tables: &Tables,
        zones: &mut HashMap<String, TimeZone>,
        record: &Record,
        key: &str,
    ) -> Result<Self, DataError> {
        let dest = lookup(&tables.airports, &record.dest, key)?;
        let wrong = |source| wrong_time(key, source);
        let origin_zone = zone(zones, ORIGIN_ZONE).map_err(wrong)?;
        let day = Date::new(record.year, record.month, record.day).map_err(wrong)?;
        let local = |minutes| local(day, minutes, &origin_zone).map_err(wrong);
        let scheduled = local(minutes_of_day(record.sched_dep_time))?;
        if scheduled
            .timestamp()
            .strftime("%Y-%m-%dT%H:00:00Z")
            .to_string()
            != record.time_hour
        {
            return Err(contradiction(key, "sched_dep_time and time_hour"));
        }
        Ok(Self {
            opens: local(BOARD_OPENS_AT_HOUR * 60)?.timestamp(),
            scheduled,
            dest_zone: zone(zones, &dest.tz).map_err(wrong)?,
            events: Vec::new(),
        })
    }

    fn derive(&mut self, record: &Record, key: &str) -> Result<(), DataError> {
        let scheduled = self.scheduled.timestamp();
        self.events.push((self.opens, Status::Scheduled));
        if record.dep_time.is_none() {
            self.events.push((scheduled, Status::Cancelled));
            return Ok(());
        }
        let Some(dep_delay) = record.dep_delay else {
            return Err(contradiction(key, "dep_time and dep_delay"));
        };
        for minutes in LATE_AFTER {
            if i32::from(minutes) < dep_delay {
                let at = scheduled + SignedDuration::from_mins(minutes.into());
                self.events.push((at, Status::Late { minutes }));
            }
        }
        let departed = scheduled + SignedDuration::from_mins(dep_delay.into());
        self.events.push((departed, Status::Departed { dep_delay }));
        let end = match (record.arr_time, record.arr_delay) {
            (None, _) => (
                departed + SignedDuration::from_mins(1),
                Status::NoArrivalRecorded { dep_delay },
            ),
            (Some(time), None) => (
                self.arrival(departed, time, key)?,
                Status::ArrivedAfterDiversion { dep_delay },
            ),
            (Some(time), Some(arr_delay)) => {
                let arrived = self.arrival(departed, time, key)?;
                let in_the_air = record.air_time.unwrap_or(0);
                if arrived.duration_since(departed) < SignedDuration::from_mins(in_the_air.into()) {
                    return Err(contradiction(key, "arr_time and air_time"));
                }
                (
                    arrived,
                    Status::Arrived {
                        dep_delay,
                        arr_delay,
                    },
                )
            }
        };
        self.events.push(end);
        Ok(())
    }

    /// The first moment after departure at which the destination's clock shows `time`.
    fn arrival(&self, departed: Timestamp, time: u16, key: &str) -> Result<Timestamp, DataError> {
        let day = departed.to_zoned(self.dest_zone.clone()).date();
        let arrived = local(day, minutes_of_day(time), &self.dest_zone)
            .map_err(|source| wrong_time(key, source))?
            .timestamp();
        Ok(if arrived < departed {
            arrived + SignedDuration::from_hours(24)
        } else {
            arrived
        })
    }
}

fn flight(
    tables: &Tables,
    record: &Record,
    key: String,
    scheduled: Zoned,
) -> Result<Flight, DataError> {
    let origin = lookup(&tables.airports, &record.origin, &key)?;
    let dest = lookup(&tables.airports, &record.dest, &key)?;
    Ok(Flight {
        airline: lookup(&tables.airlines, &record.carrier, &key)?.clone(),
        carrier: record.carrier.clone(),
        number: record.flight,
        tailnum: record.tailnum.clone(),
        origin: record.origin.clone(),
        origin_name: origin.name.clone(),
        dest: record.dest.clone(),
        dest_city: dest.city.clone(),
        dest_name: dest.name.clone(),
        scheduled,
        key,
    })
}

fn lookup<'t, T>(
    table: &'t HashMap<String, T>,
    code: &str,
    flight: &str,
) -> Result<&'t T, DataError> {
    table.get(code).ok_or_else(|| DataError::UnknownCode {
        flight: flight.to_owned(),
        code: code.to_owned(),
    })
}

fn zone(zones: &mut HashMap<String, TimeZone>, name: &str) -> Result<TimeZone, jiff::Error> {
    if let Some(zone) = zones.get(name) {
        return Ok(zone.clone());
    }
    let zone = TimeZone::get(name)?;
    zones.insert(name.to_owned(), zone.clone());
    Ok(zone)
}

/// `2103` to minutes since midnight. `2400` is the midnight at the day's end, as the source has it.
fn minutes_of_day(hhmm: u16) -> i64 {
    i64::from(hhmm / 100) * 60 + i64::from(hhmm % 100)
}

fn local(day: Date, minutes: i64, zone: &TimeZone) -> Result<Zoned, jiff::Error> {
    let midnight: DateTime = day.into();
    midnight
        .checked_add(SignedDuration::from_mins(minutes))?
        .to_zoned(zone.clone())
}

fn wrong_time(flight: &str, source: jiff::Error) -> DataError {
    DataError::Time {
        flight: flight.to_owned(),
        source,
    }
}

fn contradiction(flight: &str, columns: &'static str) -> DataError {
    DataError::Contradiction {
        flight: flight.to_owned(),
        columns,
    }
}
