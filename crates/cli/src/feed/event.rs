//! Flights, and what happens to them.

use jiff::{Timestamp, Zoned};

/// What a flight is, whatever happens to it.
#[derive(Debug)]
pub(super) struct Flight {
    /// Carrier, number and origin: `UA1545-EWR`. Unique within a day.
    pub(super) key: String,
    pub(super) carrier: String,
    pub(super) airline: String,
    pub(super) number: u16,
    pub(super) tailnum: Option<String>,
    pub(super) origin: String,
    pub(super) origin_name: String,
    pub(super) dest: String,
    pub(super) dest_city: String,
    pub(super) dest_name: String,
    /// Scheduled departure in the origin's time zone.
    pub(super) scheduled: Zoned,
}

/// Something became known of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The moment of that day.
    pub(super) at: Timestamp,
    /// Index into the day's flights.
    pub(super) flight: usize,
    pub(super) status: Status,
}

/// A flight's state. Delays are minutes, negative when early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Scheduled,
    Late { minutes: u16 },
    Departed { dep_delay: i32 },
    Arrived { dep_delay: i32, arr_delay: i32 },
    Cancelled,
    NoArrivalRecorded { dep_delay: i32 },
    ArrivedAfterDiversion { dep_delay: i32 },
}

/// What the claim of an event rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The record states both the fact and its time.
    Data,
    /// True at that moment by arithmetic on the record, with nothing that the moment did not know.
    Derived,
    /// The record states the fact, but not when it became known: the time is our choice.
    Inferred,
}

impl Status {
    /// The status as payloads write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Late { .. } => "late",
            Self::Departed { .. } => "departed",
            Self::Arrived { .. } => "arrived",
            Self::Cancelled => "cancelled",
            Self::NoArrivalRecorded { .. } => "no_arrival_recorded",
            Self::ArrivedAfterDiversion { .. } => "arrived_after_diversion",
        }
    }

    /// What the claim rests on.
    pub(super) fn basis(self) -> Basis {
        match self {
            Self::Scheduled | Self::Departed { .. } | Self::Arrived { .. } => Basis::Data,
            Self::Late { .. } => Basis::Derived,
            Self::Cancelled
            | Self::NoArrivalRecorded { .. }
            | Self::ArrivedAfterDiversion { .. } => Basis::Inferred,
        }
    }

    /// Minutes past schedule, while the flight is late.
    pub(super) fn late_min(self) -> Option<u16> {
        match self {
            Self::Late { minutes } => Some(minutes),
            _ => None,
        }
    }

    /// Known from the departure on.
    pub(super) fn dep_delay(self) -> Option<i32> {
        match self {
            Self::Departed { dep_delay }
            | Self::Arrived { dep_delay, .. }
            | Self::NoArrivalRecorded { dep_delay }
            | Self::ArrivedAfterDiversion { dep_delay } => Some(dep_delay),
            Self::Scheduled | Self::Late { .. } | Self::Cancelled => None,
        }
    }

    /// Known when the flight has arrived as planned.
    pub(super) fn arr_delay(self) -> Option<i32> {
        match self {
            Self::Arrived { arr_delay, .. } => Some(arr_delay),
            _ => None,
        }
    }
}

impl Basis {
    /// The basis as payloads write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Derived => "derived",
            Self::Inferred => "inferred",
        }
    }
}
