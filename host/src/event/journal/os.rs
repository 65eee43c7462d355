//! What only `unsafe` code can do, for tests.

pub(super) mod disk;
mod vfs;
