//! From what the board holds to what `AdminService` says.

use std::collections::BTreeMap;
use std::sync::Arc;

use plugmesh::admin::v1::{
    GetHealthResponse, HealthState, Instance, InstanceHealth, InstanceState, LogStream, Method, Plugin,
    PluginHealth, PluginState, Requirement, ScaleRange, TailLogsResponse,
};
use prost_reflect::MethodDescriptor;

use crate::instance::Tier;
use crate::launch::{LogEntry, Stream};
use crate::name::PluginName;
use crate::supervise::{
    Answer, Condition, InstanceStatus, PluginStatus, condition_of_instance, condition_of_plugin, overall,
};

type Plugins = BTreeMap<PluginName, Arc<PluginStatus>>;

/// One plugin; `board` tells whether what it requires is there.
pub(super) fn plugin(status: &PluginStatus, board: &Plugins) -> Plugin {
    let introduction = status.introduction.as_deref();
    let stated = |ours: &str, theirs: Option<&String>| match ours.is_empty() {
        true => theirs.cloned().unwrap_or_default(),
        false => ours.to_owned(),
    };
    let config = &status.config;
    let mut labels = introduction.map(|introduction| introduction.labels.clone()).unwrap_or_default();
    labels.extend(config.labels.clone());
    Plugin {
        name: config.name.to_string(),
        version: status.version().map(ToString::to_string).unwrap_or_default(),
        description: stated(&config.description, introduction.map(|i| &i.description)),
        author: stated(&config.author, introduction.map(|i| &i.author)),
        labels: labels.into_iter().collect(),
        state: status.state().into(),
        message: status.message(),
        tier: introduction.map(|introduction| introduction.tier).unwrap_or(Tier::Plain).number(),
        services: status.services.clone(),
        instances: status.instances.values().map(instance).collect(),
        manifest: config.manifest.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        requires: requirements(status, board),
        health: state_of(condition_of_plugin(status)).into(),
        wanted_instances: status.wanted,
        ready_instances: status.ready() as u32,
        scale: config.scale.map(|scale| ScaleRange {
            min: scale.min,
            max: scale.max,
            target_in_flight: scale.target_in_flight,
            warm: scale.warm,
        }),
    }
}

/// Those of the manifest, then those of the handshake that the manifest does not name.
fn requirements(status: &PluginStatus, board: &Plugins) -> Vec<Requirement> {
    let ours = status.config.requires.iter().map(|required| (&required.plugin, &required.version));
    let theirs = status.introduction.iter().flat_map(|introduction| &introduction.requires);
    let theirs = theirs
        .filter(|dependency| status.config.requires.iter().all(|ours| ours.plugin != dependency.plugin))
        .map(|dependency| (&dependency.plugin, &dependency.range));
    let requirement = |(plugin, range): (&PluginName, &semver::VersionReq)| Requirement {
        plugin: plugin.to_string(),
        version_range: if *range == semver::VersionReq::STAR { String::new() } else { range.to_string() },
        satisfied: board.get(plugin).is_some_and(|there| {
            let running =
                matches!(there.state(), PluginState::Ready | PluginState::Degraded | PluginState::Idle);
            running && there.version().is_none_or(|version| range.matches(version))
        }),
    };
    ours.chain(theirs).map(requirement).collect()
}

fn instance(status: &InstanceStatus) -> Instance {
    let incarnation = status.incarnation.as_ref();
    let endpoint = incarnation.and_then(|incarnation| incarnation.endpoint.as_ref());
    let ready = incarnation.and_then(|incarnation| incarnation.ready);
    Instance {
        name: status.name.to_string(),
        instance_id: incarnation.map(|incarnation| incarnation.id.to_string()).unwrap_or_default(),
        epoch: incarnation.map(|incarnation| incarnation.epoch).unwrap_or_default(),
        state: status.state.into(),
        message: status.message.clone(),
        kind: status.kind.into(),
        address: incarnation.map(|incarnation| incarnation.address.clone()).unwrap_or_default(),
        pid: incarnation.and_then(|incarnation| incarnation.pid).unwrap_or_default(),
        in_flight: endpoint.map(|endpoint| endpoint.in_flight()).unwrap_or_default(),
        calls: endpoint.map(|endpoint| endpoint.calls()).unwrap_or_default(),
        failures: endpoint.map(|endpoint| endpoint.failures()).unwrap_or_default(),
        restarts: status.restarts,
        ready_time: ready.map(|(at, _)| at.into()),
        start_duration: ready.and_then(|(_, took)| took.try_into().ok()),
        health: condition_of_instance(status).state.into(),
        health_response_duration: answer(status).and_then(|answer| answer.took.try_into().ok()),
        health_check_time: answer(status).map(|answer| answer.at.into()),
    }
}

fn answer(status: &InstanceStatus) -> Option<Answer> {
    status.incarnation.as_ref()?.liveness.as_ref()?.last_answer()
}

/// Of what is no question nothing is known.
fn state_of(condition: Option<Condition>) -> HealthState {
    condition.map_or(HealthState::Unknown, |condition| condition.state)
}

/// How well everything of `plugins` is.
pub(super) fn health(plugins: &Plugins) -> GetHealthResponse {
    let Condition { state, why } = overall(plugins);
    let plugins = plugins.values().map(|status| {
        let condition = condition_of_plugin(status);
        PluginHealth {
            name: status.config.name.to_string(),
            message: condition.as_ref().map(|condition| condition.why.clone()).unwrap_or_default(),
            state: state_of(condition).into(),
            instances: status.instances.values().map(instance_health).collect(),
        }
    });
    GetHealthResponse { state: state.into(), message: why, plugins: plugins.collect() }
}

fn instance_health(status: &InstanceStatus) -> InstanceHealth {
    let Condition { state, why } = condition_of_instance(status);
    InstanceHealth {
        name: status.name.to_string(),
        state: state.into(),
        message: why,
        response_duration: answer(status).and_then(|answer| answer.took.try_into().ok()),
        check_time: answer(status).map(|answer| answer.at.into()),
    }
}

/// State of an instance in words, with its reason.
pub(super) fn state_in_words(status: &InstanceStatus) -> String {
    let state = match status.state {
        InstanceState::Starting => "it is starting",
        InstanceState::Ready => "it is ready",
        InstanceState::Unhealthy => "it is unhealthy",
        InstanceState::Draining => "it is draining",
        InstanceState::Warm => "it is kept warm until another one is needed",
        InstanceState::Backoff => "it has ended and will be started again",
        InstanceState::CrashLoop => "it keeps dying, and will be started again after a long pause",
        InstanceState::Stopped | InstanceState::Unspecified => "it has ended",
    };
    match status.message.is_empty() {
        true => state.to_owned(),
        false => format!("{state}: {}", status.message),
    }
}

pub(super) fn method(method: &MethodDescriptor) -> Method {
    Method {
        name: method.name().to_owned(),
        input_type: method.input().full_name().to_owned(),
        output_type: method.output().full_name().to_owned(),
        client_streaming: method.is_client_streaming(),
        server_streaming: method.is_server_streaming(),
    }
}

pub(super) fn log(entry: &LogEntry, lost: u64) -> TailLogsResponse {
    let stream = match entry.line.stream {
        Stream::Stdout => LogStream::Stdout,
        Stream::Stderr => LogStream::Stderr,
    };
    TailLogsResponse {
        time: Some(entry.line.time.into()),
        instance: entry.instance.to_string(),
        stream: stream.into(),
        level: entry.line.level.map(|level| level.as_str().to_owned()).unwrap_or_default(),
        line: entry.line.text.clone(),
        fields_json: entry.line.fields_json.clone().unwrap_or_default(),
        lost,
    }
}
