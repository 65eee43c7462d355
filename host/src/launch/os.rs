//! What differs from one operating system to the next. Linux is complete; another system needs a module
//! beside [`linux`] with the same functions: spawn in a group with a death signal, watch a child's end
//! without reaping it, list processes, and a watchdog that outlives the host.

#[cfg(target_os = "linux")]
pub(crate) mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::{descriptors, proc, spawn, watchdog};

#[cfg(not(target_os = "linux"))]
compile_error!("plugmesh-host launches plugins on Linux only so far; see launch::os for what a port needs");
