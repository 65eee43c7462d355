//! Why a plugin is not running.

use std::sync::Arc;

use crate::build::BuildError;
use crate::config::dependency::DependencyError;
use crate::name::PluginName;
use crate::supervise::failure::StartFailure;

/// Why a plugin is not running.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// It was not started on this machine, which is no fault.
    #[error("{plugin} was skipped: {why}")]
    Skipped {
        /// Which.
        plugin: PluginName,
        /// Why.
        why: String,
    },
    /// Its build failed.
    #[error("{plugin} was not built: {error}")]
    Build {
        /// Which.
        plugin: PluginName,
        /// Why.
        error: Arc<BuildError>,
    },
    /// No instance started.
    #[error("{plugin} did not start: {failure}")]
    NotStarted {
        /// Which.
        plugin: PluginName,
        /// Why.
        failure: Arc<StartFailure>,
    },
    /// Something that it requires is not there.
    #[error("{plugin} was not started: {why}")]
    Dependency {
        /// Which.
        plugin: PluginName,
        /// What is missing.
        why: String,
    },
    /// There is one of that name.
    #[error("there is a plugin {0} already; unload it first, or give this one another name")]
    Exists(PluginName),
}

impl LoadError {
    /// One for each plugin that the problem keeps from starting.
    pub(super) fn dependency(problem: &DependencyError) -> Vec<Self> {
        let plugins = match problem {
            DependencyError::Missing { plugin, .. }
            | DependencyError::Disabled { plugin, .. }
            | DependencyError::Version { plugin, .. }
            | DependencyError::Blocked { plugin, .. } => std::slice::from_ref(plugin),
            DependencyError::Cycle(cycle) => cycle.members(),
        };
        let why = problem.to_string();
        plugins.iter().map(|plugin| Self::Dependency { plugin: plugin.clone(), why: why.clone() }).collect()
    }

    /// The plugin that is not running.
    pub fn plugin(&self) -> &PluginName {
        match self {
            Self::Skipped { plugin, .. }
            | Self::Build { plugin, .. }
            | Self::NotStarted { plugin, .. }
            | Self::Dependency { plugin, .. }
            | Self::Exists(plugin) => plugin,
        }
    }
}
