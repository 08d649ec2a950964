//! The records: one row of each embedded table, read strictly.

use std::collections::HashMap;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};

const FLIGHTS: &str = include_str!("../../data/flights-2013-09-12.csv");
const AIRLINES: &str = include_str!("../../data/airlines.csv");
const AIRPORTS: &str = include_str!("../../data/airports.csv");

/// One scheduled departure, in the columns of the source. Times are local `hhmm`, delays are minutes.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Record {
    pub(super) year: i16,
    pub(super) month: i8,
    pub(super) day: i8,
    #[serde(deserialize_with = "optional")]
    pub(super) dep_time: Option<u16>,
    pub(super) sched_dep_time: u16,
    #[serde(deserialize_with = "optional")]
    pub(super) dep_delay: Option<i32>,
    #[serde(deserialize_with = "optional")]
    pub(super) arr_time: Option<u16>,
    #[serde(deserialize_with = "optional")]
    pub(super) arr_delay: Option<i32>,
    pub(super) carrier: String,
    pub(super) flight: u16,
    #[serde(deserialize_with = "optional")]
    pub(super) tailnum: Option<String>,
    pub(super) origin: String,
    pub(super) dest: String,
    #[serde(deserialize_with = "optional")]
    pub(super) air_time: Option<i32>,
    /// The scheduled hour in UTC: lets the time zone arithmetic be checked against the source.
    pub(super) time_hour: String,
}

/// An airport that the day uses.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Airport {
    iata: String,
    pub(super) name: String,
    pub(super) city: String,
    pub(super) tz: String,
}

#[derive(serde::Deserialize)]
struct Airline {
    carrier: String,
    name: String,
}

/// The three tables of the embedded day.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) flights: Vec<Record>,
    /// Carrier code to name.
    pub(super) airlines: HashMap<String, String>,
    /// IATA code to airport.
    pub(super) airports: HashMap<String, Airport>,
}

impl Tables {
    /// Reads the tables that are built into the program.
    pub(super) fn embedded() -> Result<Self, csv::Error> {
        Ok(Self {
            flights: rows(FLIGHTS)?,
            airlines: rows::<Airline>(AIRLINES)?
                .into_iter()
                .map(|airline| (airline.carrier, airline.name))
                .collect(),
            airports: rows::<Airport>(AIRPORTS)?
                .into_iter()
                .map(|airport| (airport.iata.clone(), airport))
                .collect(),
        })
    }
}

fn rows<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, csv::Error> {
    csv::Reader::from_reader(text.as_bytes())
        .into_deserialize()
        .collect()
}

/// A field that may be missing: the source writes `NA`, sometimes nothing.
fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "" | "NA" => Ok(None),
        value => value.parse().map(Some).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_tables_are_whole() {
        let tables = Tables::embedded().unwrap();
        assert_eq!(tables.flights.len(), 992);
        assert_eq!(tables.airlines.len(), 15);
        for flight in &tables.flights {
            assert!(tables.airlines.contains_key(&flight.carrier), "{flight:?}");
            assert!(tables.airports.contains_key(&flight.origin), "{flight:?}");
            assert!(tables.airports.contains_key(&flight.dest), "{flight:?}");
        }
    }

    #[test]
    fn missing_fields_are_none_and_wrong_ones_are_errors() {
        #[derive(Debug, serde::Deserialize)]
        struct Row {
            #[serde(deserialize_with = "optional")]
            delay: Option<i32>,
        }
        let read = |text: &str| rows::<Row>(text).map(|rows| rows[0].delay);
        assert_eq!(read("delay,x\nNA,1\n").unwrap(), None);
        assert_eq!(read("delay,x\n,1\n").unwrap(), None);
        assert_eq!(read("delay,x\n-7,1\n").unwrap(), Some(-7));
        assert!(read("delay,x\nlate,1\n").is_err());
    }
}
