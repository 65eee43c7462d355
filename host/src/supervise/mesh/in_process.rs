//! Services of the program itself as a plugin.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use plugmesh::admin::v1::{InstanceKind, InstanceState};
use semver::Version;

use super::Mesh;
use crate::config::{Config, PluginConfig, PluginOptions, Source};
use crate::name::{InstanceId, InstanceName, PluginName};
use crate::route::{Availability, Route, RouteSettings};
use crate::supervise::{Incarnation, InstanceStatus, PluginStatus, Stage};
use crate::transport::{InProcess, Lane};

impl Mesh {
    /// Adds services of this process as a plugin that is ready at once.
    pub fn insert_in_process(&self, name: PluginName, version: Version, services: InProcess, host: &Config) {
        let options = PluginOptions { version: Some(version), ..PluginOptions::default() };
        let config = Arc::new(PluginConfig::new(name.clone(), Source::InProcess, options, host));
        let names: Vec<_> = services.names().map(str::to_owned).collect();
        let instance = InstanceName::new(name.clone(), 0);
        let (id, epoch) = (InstanceId::random(), self.next_epoch());
        let lane = Lane::InProcess(Arc::new(services));
        let policies = config.policies.clone();
        let route = Route::new(name, RouteSettings { policies, ..RouteSettings::default() });
        let endpoint = route.endpoint(instance.clone(), id.clone(), epoch, lane);
        route.insert(endpoint.clone());
        route.set_availability(&endpoint, Availability::Ready);
        self.router().insert(route, names.iter().cloned());
        let incarnation = Incarnation {
            id,
            epoch,
            address: "in-process".to_owned(),
            pid: None,
            ready: Some((SystemTime::now(), Duration::ZERO)),
            endpoint: Some(endpoint),
            liveness: None,
        };
        let mut status = PluginStatus::new(config, Stage::Running);
        status.services = names;
        status.wanted = 1;
        status.instances.insert(
            0,
            InstanceStatus {
                name: instance,
                kind: InstanceKind::InProcess,
                state: InstanceState::Ready,
                message: String::new(),
                incarnation: Some(incarnation),
                restarts: 0,
            },
        );
        self.board().insert(status);
    }
}
