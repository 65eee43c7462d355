//! A plugin as a set of instances: start, restart, drain, replace, stop.
//!
//! - [`Mesh`]: what every plugin of a host shares, and the plugins themselves.
//! - [`Plugin`]: one plugin: its operations run one after the other, each to its end.
//! - [`Board`]: what all of them are doing now, for anybody who wants to look.
//!
//! Each instance has a task of its own that launches or dials it, brings it up, follows its health, and
//! starts over with a growing pause when it ends. Only that task changes the instance's endpoint.

mod backoff;
mod board;
mod bring_up;
mod callers;
mod events;
mod failure;
mod fixed_answer;
mod health;
mod instance_task;
mod liveness;
mod mesh;
mod plugin;
mod process;
mod pulse;
mod remote;
mod scale;
mod services;
mod timeline;
mod unknown_targets;

pub use board::{Board, Incarnation, InstanceStatus, PluginStatus, Stage};
pub use callers::Callers;
pub use failure::{StartError, StartFailure};
pub use health::{Condition, condition_of_instance, condition_of_plugin, overall};
pub use liveness::{Answer, Liveness};
pub use mesh::{LoadError, Mesh, MeshOptions, Runtimes};
pub use plugin::Plugin;
