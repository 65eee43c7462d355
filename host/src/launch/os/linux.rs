//! Linux: pidfds, `clone` with `CLONE_VFORK`, parent-death signals, `/proc`.

pub(crate) mod descriptors;
mod forget;
pub(crate) mod proc;
pub(crate) mod spawn;
pub(crate) mod watchdog;
