//! Plugins come and go, in the order of what they require.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plugmesh::admin::v1::PluginState;

use super::{LoadError, Mesh, lock};
use crate::config::dependency;
use crate::config::{PluginConfig, Requirement};
use crate::name::PluginName;
use crate::supervise::{Plugin, PluginStatus, Stage};

impl Mesh {
    /// Starts `configs` in the order that their requirements ask for, as many at once as it allows, and gives
    /// what went wrong: a plugin that fails is left out, the others run.
    pub async fn load_all(&self, configs: Vec<PluginConfig>) -> Vec<LoadError> {
        let _starting = self.router().starting();
        let plan = dependency::plan(&configs);
        let mut errors: Vec<_> = plan.problems.iter().flat_map(LoadError::dependency).collect();
        let mut plugins = BTreeMap::new();
        for config in configs {
            match self.add(config) {
                Ok(plugin) => drop(plugins.insert(plugin.name().clone(), plugin)),
                Err(error) => errors.push(error),
            }
        }
        for error in &errors {
            if let LoadError::Dependency { plugin, why } = error {
                self.board().update(plugin, |status| status.stage = Stage::Failed(why.clone()));
            }
        }
        for level in &plan.levels {
            let starts =
                level.iter().filter_map(|name| plugins.get(name)).map(|plugin| self.start_after(plugin));
            errors.extend(futures_util::future::join_all(starts).await.into_iter().filter_map(Result::err));
        }
        errors
    }

    /// Adds and starts one plugin.
    ///
    /// # Errors
    /// It does not start; it stays on the board, with the reason.
    pub async fn load(&self, config: PluginConfig) -> Result<(), LoadError> {
        let _starting = self.router().starting();
        let plugin = self.add(config)?;
        self.start(&plugin).await
    }

    /// Drains and stops a plugin and forgets it.
    ///
    /// # Errors
    /// Another plugin that runs requires it.
    pub async fn unload(&self, name: &PluginName, grace: Duration) -> Result<(), LoadError> {
        let board = self.board().snapshot();
        let requires = |status: &&Arc<PluginStatus>| {
            matches!(status.stage, Stage::Running | Stage::Idle)
                && status
                    .config
                    .requires
                    .iter()
                    .any(|required| required.plugin == *name && !required.optional)
        };
        if let Some(dependent) = board.values().find(requires) {
            let why = format!("{} requires it; unload that one first", dependent.config.name);
            return Err(LoadError::Dependency { plugin: name.clone(), why });
        }
        let plugin = lock(&self.0.plugins).remove(name);
        if let Some(plugin) = plugin {
            plugin.stop(grace).await;
        }
        self.router().remove(name);
        self.board().remove(name);
        lock(&self.0.logs).remove(name);
        Ok(())
    }

    /// Drains and stops every plugin, those first that others do not need. Calls in flight may go on for `grace`.
    pub async fn stop(&self, grace: Duration) {
        let deadline = tokio::time::Instant::now() + grace;
        let plugins = std::mem::take(&mut *lock(&self.0.plugins));
        let configs: Vec<_> =
            self.board().snapshot().values().map(|status| PluginConfig::clone(&status.config)).collect();
        let mut levels = dependency::plan(&configs).levels;
        levels.reverse();
        // What is in no level did not start, but may have been attached to since.
        let planned: Vec<_> = levels.iter().flatten().cloned().collect();
        levels.insert(0, plugins.keys().filter(|name| !planned.contains(name)).cloned().collect());
        for level in levels {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let stops = level.iter().filter_map(|name| plugins.get(name)).map(|plugin| plugin.stop(left));
            futures_util::future::join_all(stops).await;
        }
        self.0.tasks.close();
    }

    fn add(&self, config: PluginConfig) -> Result<Plugin, LoadError> {
        let mut plugins = lock(&self.0.plugins);
        match plugins.contains_key(&config.name) || self.board().get(&config.name).is_some() {
            true => Err(LoadError::Exists(config.name)),
            false => {
                let plugin = Plugin::new(self, config);
                plugins.insert(plugin.name().clone(), plugin.clone());
                Ok(plugin)
            }
        }
    }

    /// Starts a plugin of a set, unless one that it requires did not start.
    async fn start_after(&self, plugin: &Plugin) -> Result<(), LoadError> {
        let board = self.board().snapshot();
        let Some(status) = board.get(plugin.name()) else { return Ok(()) };
        let is_down = |required: &&Requirement| {
            let running = |status: &Arc<PluginStatus>| {
                matches!(status.state(), PluginState::Ready | PluginState::Degraded | PluginState::Idle)
            };
            !required.optional && !board.get(&required.plugin).is_some_and(running)
        };
        if let Some(required) = status.config.requires.iter().find(is_down) {
            let why = format!("it requires {}, which is not running", required.plugin);
            self.board().update(plugin.name(), |status| status.stage = Stage::Failed(why.clone()));
            return Err(LoadError::Dependency { plugin: plugin.name().clone(), why });
        }
        self.start(plugin).await
    }

    async fn start(&self, plugin: &Plugin) -> Result<(), LoadError> {
        match self.board().get(plugin.name()).map(|status| status.stage.clone()) {
            Some(Stage::Disabled) => Ok(()),
            _ => plugin.start().await,
        }
    }
}
