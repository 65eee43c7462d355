//! From a configuration to instances.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Instances, Plugin, Scaled, failure};
use crate::build::build;
use crate::config::{BuildConfig, PluginConfig, Source, missing_tools};
use crate::route::Route;
use crate::supervise::LoadError;
use crate::supervise::board::Stage;
use crate::supervise::failure::StartFailure;
use crate::supervise::instance_task::{InstanceTask, Origin};
use crate::supervise::scale::{Place, Scaling};

impl Plugin {
    /// Starts the instances of `config` on `route`.
    pub(super) async fn launch(
        &self,
        config: &Arc<PluginConfig>,
        route: &Arc<Route>,
    ) -> Result<Instances, LoadError> {
        let mut origins = self.prepare(config).await?;
        let wanted = origins.len() as u32;
        let scaled = self.scaled(config, route, origins.first(), wanted);
        if let (Some(scaled), Some(origin)) = (&scaled, origins.first().cloned()) {
            origins.resize(scaled.scaling.total(wanted) as usize, origin);
        }
        let places = scaled.as_ref().map(|scaled| scaled.scaling.places(origins.len() as u32, wanted));
        let mut places = places.unwrap_or_default().into_iter();
        self.0.mesh.board().update(&self.0.name, |status| {
            status.stage = Stage::Running;
            status.wanted = wanted;
        });
        let (mut tasks, mut firsts) = (BTreeMap::new(), Vec::new());
        for (ordinal, origin) in (0..).zip(origins) {
            let (task, first) = self.spawn(config, route, ordinal, origin, places.next());
            tasks.insert(ordinal, task);
            firsts.push(first);
        }
        let mut first_failure = None;
        let mut started = firsts.is_empty();
        for first in firsts {
            match first.await {
                Ok(Ok(())) => started = true,
                failed => first_failure = first_failure.or(Some(failure(failed))),
            }
        }
        match first_failure {
            Some(failure) if !started => {
                for task in tasks.values() {
                    task.unpublish();
                }
                Instances { tasks, scaling: None }.stop(Duration::ZERO).await;
                self.0.mesh.board().update(&self.0.name, |status| {
                    status.stage = Stage::Failed(failure.to_string());
                    status.wanted = 0;
                    status.instances.clear();
                });
                Err(LoadError::NotStarted { plugin: self.0.name.clone(), failure })
            }
            Some(failure) => {
                let plugin = &self.0.name;
                tracing::warn!(%plugin, "not every instance started, it is tried again: {failure}");
                Ok(Instances { tasks, scaling: scaled })
            }
            None => Ok(Instances { tasks, scaling: scaled }),
        }
    }

    /// What the instances come from, once it is there.
    async fn prepare(&self, config: &Arc<PluginConfig>) -> Result<Vec<Origin>, LoadError> {
        let missing = missing_tools(&config.needs, &self.0.mesh.path());
        if !missing.is_empty() {
            let why = format!("{} not found on PATH; install it to run this plugin", missing.join(", "));
            self.stage(Stage::Skipped(why.clone()));
            return Err(LoadError::Skipped { plugin: self.0.name.clone(), why });
        }
        Ok(match &config.source {
            Source::Process(source) => {
                if let Some(build) = &source.build {
                    self.build(build).await?;
                }
                vec![Origin::Process(source.clone()); source.instances.get() as usize]
            }
            Source::Remote(remote) => remote.endpoints.iter().cloned().map(Origin::Remote).collect(),
            Source::InProcess => Vec::new(),
        })
    }

    async fn build(&self, config: &BuildConfig) -> Result<(), LoadError> {
        let plugin = self.clone();
        let show = move |line: &str| plugin.stage(Stage::Building(line.to_owned()));
        build(config, self.0.mesh.launcher(), show).await.map(drop).map_err(|error| {
            self.stage(Stage::Failed(error.to_string()));
            LoadError::Build { plugin: self.0.name.clone(), error: Arc::new(error) }
        })
    }

    pub(super) fn spawn(
        &self,
        config: &Arc<PluginConfig>,
        route: &Arc<Route>,
        ordinal: u32,
        origin: Origin,
        place: Option<Place>,
    ) -> (InstanceTask, oneshot::Receiver<Result<(), StartFailure>>) {
        let (tell, first) = oneshot::channel();
        let task = InstanceTask::spawn(
            &self.0.mesh,
            config.clone(),
            route.clone(),
            ordinal,
            origin,
            place,
            self.0.starts.clone(),
            tell,
        );
        (task, first)
    }

    /// Lets the number of instances follow the load, when it should.
    fn scaled(
        &self,
        config: &PluginConfig,
        route: &Arc<Route>,
        origin: Option<&Origin>,
        wanted: u32,
    ) -> Option<Scaled> {
        let (scale, origin) = config.scale.zip(origin.cloned())?;
        if !matches!(origin, Origin::Process(_)) {
            return None;
        }
        let plugin = Arc::downgrade(&self.0);
        let id = self.0.mesh.next_epoch();
        let resize = move |wanted| {
            if let Some(shared) = plugin.upgrade() {
                let plugin = Plugin(shared.clone());
                shared.mesh.spawn(async move { plugin.resize(id, wanted).await });
            }
        };
        let scaling = Scaling::new(id, scale, route.clone(), wanted, Box::new(resize));
        let listening = self.0.mesh.listen(scaling.clone());
        let ordinals = (0..scaling.total(wanted)).collect();
        Some(Scaled { scaling, origin, ordinals, _listening: listening })
    }
}
