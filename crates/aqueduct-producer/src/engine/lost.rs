use aqueduct_core::Error;

/// Failures of events whose callers went away, kept for `flush`.
#[derive(Default)]
pub(super) struct Lost {
    first: Option<Error>,
    count: u64,
}

impl Lost {
    /// Adds the failures of `count` events, of which `error` is the first.
    pub(super) fn add(&mut self, error: Error, count: usize) {
        self.first.get_or_insert(error);
        self.count += count as u64;
    }

    /// Returns the first failure and how many there were, once.
    pub(super) fn take(&mut self) -> Option<Error> {
        let count = std::mem::take(&mut self.count);
        let first = self.first.take()?;
        Some(match count {
            1 => first,
            _ => first.context(format_args!(
                "{count} events failed that no caller waited for, the first"
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::ErrorKind;

    use super::*;

    #[test]
    fn every_failure_is_counted_and_the_first_is_told() {
        let mut lost = Lost::default();
        assert!(lost.take().is_none());
        lost.add(Error::new(ErrorKind::Denied, "not allowed"), 2);
        lost.add(Error::new(ErrorKind::Full, "no room"), 1);
        let told = lost.take().unwrap();
        assert_eq!(told.kind(), ErrorKind::Denied);
        assert!(told.to_string().starts_with("3 events failed"), "{told}");
        assert!(lost.take().is_none());
    }
}
