/// The bytes of a batch beside its messages: its annotation with the longest partition key, and room for
/// what the client library may add.
pub(super) const ENVELOPE: usize = 512;

/// The bytes of a message in a batch beside its own: the head of a data section.
pub(super) const MESSAGE: usize = 8;

/// Encoded messages that are sent together.
pub(super) struct Batch {
    limit: usize,
    bytes: usize,
    places: Vec<usize>,
    messages: Vec<Vec<u8>>,
}

impl Batch {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: ENVELOPE,
            places: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Returns whether there is room for the message. An empty batch takes any: the limit of an event is
    /// checked before.
    pub(super) fn fits(&self, message: &[u8]) -> bool {
        self.places.is_empty() || self.bytes + MESSAGE + message.len() <= self.limit
    }

    /// Adds the message of the event at `place`.
    pub(super) fn push(&mut self, place: usize, message: Vec<u8>) {
        self.bytes += MESSAGE + message.len();
        self.places.push(place);
        self.messages.push(message);
    }

    /// Empties the batch. Returns the places, the messages, and the bytes of all of it.
    pub(super) fn take(&mut self) -> (Vec<usize>, Vec<Vec<u8>>, usize) {
        let bytes = std::mem::replace(&mut self.bytes, ENVELOPE);
        let places = std::mem::take(&mut self.places);
        (places, std::mem::take(&mut self.messages), bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_batch_stays_within_the_limit(sizes in prop::collection::vec(0..3_000usize, 0..60)) {
            let mut batch = Batch::new(4_000);
            let mut seen = Vec::new();
            let mut check = |batch: &mut Batch| {
                let (places, messages, bytes) = batch.take();
                let real: usize = messages.iter().map(|it| it.len() + MESSAGE).sum();
                assert_eq!(real + ENVELOPE, bytes);
                assert!(bytes <= 4_000);
                seen.extend(places);
            };
            for (at, size) in sizes.iter().enumerate() {
                let message = vec![0; *size];
                if !batch.fits(&message) {
                    check(&mut batch);
                }
                batch.push(at, message);
            }
            check(&mut batch);
            prop_assert_eq!(seen, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
