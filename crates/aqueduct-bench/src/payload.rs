use serde::{Deserialize, Serialize};

/// The time of the first reading.
const FIRST: u64 = 1_700_000_000_000;

/// A reading with the usual fields of telemetry: 100 bytes as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    sensor: String,
    at: u64,
    value: f64,
    unit: String,
    note: String,
}

impl Reading {
    /// Returns the reading of that number; its JSON is 100 bytes long.
    pub(crate) fn new(number: u64) -> Self {
        Self {
            sensor: format!("s-{:04}", number % 1000),
            at: FIRST + number % 1_000_000,
            value: 21.5,
            unit: "celsius".into(),
            note: "-".repeat(22),
        }
    }

    /// Returns its key, one of 1,000 sensors.
    pub(crate) fn key(&self) -> &str {
        &self.sensor
    }

    /// The number of a reading below a million.
    pub(crate) fn number(&self) -> u64 {
        self.at.saturating_sub(FIRST)
    }

    /// Returns a number that depends on every field, so that decoding cannot be optimised away.
    pub(crate) fn checksum(&self) -> u64 {
        self.at + self.sensor.len() as u64 + self.unit.len() as u64 + self.note.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_100_bytes_of_json() {
        for number in [0, 1, 999, 123_456_789] {
            assert_eq!(
                serde_json::to_vec(&Reading::new(number)).unwrap().len(),
                100
            );
        }
    }

    #[test]
    fn a_reading_has_its_number() {
        assert_eq!(Reading::new(123_456).number(), 123_456);
    }
}
