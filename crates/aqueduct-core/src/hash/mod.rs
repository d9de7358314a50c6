//! Hashes shared by backends and engines: [`hash_key`] places keys, [`SeededHash`] serves hash
//! tables.

mod key;
mod seeded;

pub use self::key::hash_key;
pub use self::seeded::{SeededHash, SeededHasher};
