//! States of plugins and their instances.

use std::borrow::Cow;

use plugmesh::admin::v1::{HealthState, InstanceState, PluginState};

use super::{INSTANCE, PLUGIN, STATE, text};
use crate::supervise::{InstanceStatus, PluginStatus, condition_of_instance, condition_of_plugin};
use crate::telemetry::catalogue::*;
use crate::telemetry::metrics::{Labels, Metrics, Value};

pub(super) fn read_plugin(metrics: &mut Metrics, status: &PluginStatus) {
    let plugin = text(status.config.name.as_str());
    let states = enumerate(PluginState::try_from, |state| state.as_str_name());
    for (one, name) in states {
        let labels = vec![(PLUGIN, plugin.clone()), (STATE, lower(name, "PLUGIN_STATE_"))];
        metrics.count(&PLUGIN_STATE, &labels, u64::from(one == status.state()));
    }
    let labels = vec![(PLUGIN, plugin.clone())];
    metrics.count(&WANTED, &labels, status.wanted.into());
    metrics.count(&READY, &labels, status.ready() as u64);
    if let Some(condition) = condition_of_plugin(status) {
        read_health(metrics, &PLUGIN_HEALTH, &labels, condition.state);
    }
    status.instances.values().for_each(|instance| read_instance(metrics, &plugin, instance));
}

fn read_instance(metrics: &mut Metrics, plugin: &str, instance: &InstanceStatus) {
    let labels = vec![(PLUGIN, text(plugin)), (INSTANCE, text(instance.name.as_str()))];
    metrics.add(&RESTARTS, labels.clone(), Value::Count(instance.restarts.into()));
    read_health(metrics, &INSTANCE_HEALTH, &labels, condition_of_instance(instance).state);
    let incarnation = instance.incarnation.as_ref();
    let answer = incarnation.and_then(|incarnation| incarnation.liveness.as_ref()?.last_answer());
    if let Some(answer) = answer {
        metrics.level(&HEALTH_TIME, &labels, answer.took.as_secs_f64());
    }
    for (one, name) in enumerate(InstanceState::try_from, |state| state.as_str_name()) {
        let mut labels = labels.clone();
        labels.push((STATE, lower(name, "INSTANCE_STATE_")));
        metrics.count(&INSTANCE_STATE, &labels, u64::from(one == instance.state));
    }
}

fn read_health(metrics: &mut Metrics, meta: &Meta, labels: &Labels, state: HealthState) {
    for (one, name) in enumerate(HealthState::try_from, |state| state.as_str_name()) {
        let mut labels = labels.clone();
        labels.push((STATE, lower(name, "HEALTH_STATE_")));
        metrics.count(meta, &labels, u64::from(one == state));
    }
}

/// The states of the contract with their names, but for the one that says nothing: what it gains is shown, too.
fn enumerate<S: Copy, E>(
    state: impl Fn(i32) -> Result<S, E>,
    name: impl Fn(&S) -> &'static str,
) -> impl Iterator<Item = (S, &'static str)> {
    (1..).map_while(move |number| state(number).ok()).map(move |state| (state, name(&state)))
}

fn lower(name: &str, prefix: &str) -> Cow<'static, str> {
    Cow::Owned(name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase())
}
