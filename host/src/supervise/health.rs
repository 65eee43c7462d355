//! How well instances, plugins and the whole are, in words that name the culprits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plugmesh::admin::v1::{HealthState, InstanceState};

use super::board::{InstanceStatus, PluginStatus, Stage};
use crate::name::PluginName;

/// Culprits that a message names; a person who must know them all has a table.
const NAMED: usize = 5;

/// How well something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// How well.
    pub state: HealthState,
    /// Why, to go after the name of what it is about; empty when all is well.
    pub why: String,
}

impl Condition {
    fn healthy() -> Self {
        Self { state: HealthState::Healthy, why: String::new() }
    }

    fn new(state: HealthState, why: impl Into<String>) -> Self {
        Self { state, why: why.into() }
    }
}

/// How well an instance is.
pub fn condition_of_instance(status: &InstanceStatus) -> Condition {
    let liveness = status.incarnation.as_ref().and_then(|incarnation| incarnation.liveness.as_ref());
    let silent = liveness.filter(|liveness| liveness.misses_checks()).map(|liveness| {
        let silent = Duration::from_secs(liveness.silent_for().as_secs());
        format!("has not answered for {}", humantime::format_duration(silent))
    });
    let hangs = liveness.is_some_and(|liveness| liveness.is_hung());
    match (status.state, silent) {
        (InstanceState::Ready | InstanceState::Warm | InstanceState::Draining, None) => Condition::healthy(),
        (_, Some(silent)) if !hangs => Condition::new(HealthState::Degraded, silent),
        (_, Some(silent)) => {
            let why = last_part(&status.message);
            Condition::new(HealthState::Unhealthy, format!("{silent}: {why}"))
        }
        (InstanceState::Starting, None) => Condition::new(HealthState::Unknown, "is starting"),
        (InstanceState::Unhealthy, None) => {
            Condition::new(HealthState::Unhealthy, format!("is {}", first_line(&status.message)))
        }
        (InstanceState::Backoff, None) => {
            let why = first_line(&status.message);
            Condition::new(HealthState::Unhealthy, format!("has ended and will be started again: {why}"))
        }
        (InstanceState::CrashLoop, None) => {
            let why = first_line(&status.message);
            Condition::new(HealthState::Unhealthy, format!("is in a crash loop: {why}"))
        }
        (InstanceState::Stopped | InstanceState::Unspecified, None) => {
            Condition::new(HealthState::Unknown, "has ended")
        }
    }
}

/// How well a plugin is; `None` when that is no question, as of one that is switched off.
pub fn condition_of_plugin(status: &PluginStatus) -> Option<Condition> {
    match &status.stage {
        Stage::Disabled | Stage::Skipped(_) => None,
        Stage::Idle => Some(Condition::healthy()),
        Stage::Building(_) => Some(Condition::new(HealthState::Unknown, "is being built")),
        Stage::Draining => Some(Condition::new(HealthState::Unknown, "is being stopped")),
        Stage::Failed(why) => {
            let why = format!("could not be started: {}", first_line(why));
            Some(Condition::new(HealthState::Unhealthy, why))
        }
        Stage::Running => Some(running(status)),
    }
}

fn running(status: &PluginStatus) -> Condition {
    let all: Vec<_> =
        status.instances.values().map(|instance| (instance, condition_of_instance(instance))).collect();
    let has = |state| all.iter().any(|(_, condition)| condition.state == state);
    let state = match () {
        () if all.is_empty() => return Condition::new(HealthState::Unhealthy, "has no instance"),
        () if all.iter().all(|(_, condition)| condition.state == HealthState::Healthy) => {
            return Condition::healthy();
        }
        () if status.ready() > 0 => HealthState::Degraded,
        () if has(HealthState::Unhealthy) || has(HealthState::Degraded) => HealthState::Unhealthy,
        () => HealthState::Unknown,
    };
    // Instances that the load adds are no reason for worry.
    let adds = status.config.scale.is_some() && !has(HealthState::Unhealthy) && !has(HealthState::Degraded);
    if adds && status.ready() > 0 {
        return Condition::healthy();
    }
    let bad: Vec<_> = all.iter().filter(|(_, condition)| condition.state != HealthState::Healthy).collect();
    let same = bad.iter().all(|(_, condition)| Some(&condition.why) == bad.first().map(|first| &first.1.why));
    match bad.first() {
        // One sentence for all of them, when there is but one to say.
        Some((_, condition)) if same && bad.len() == all.len() => {
            Condition::new(state, condition.why.clone())
        }
        _ => {
            let named =
                bad.iter().map(|(instance, condition)| format!("{} {}", instance.name, condition.why));
            Condition::new(state, format!("is not whole: {}", listed(named)))
        }
    }
}

/// How well the whole is.
pub fn overall(plugins: &BTreeMap<PluginName, Arc<PluginStatus>>) -> Condition {
    let all: Vec<_> = plugins
        .iter()
        .filter_map(|(name, status)| condition_of_plugin(status).map(|condition| (name, condition)))
        .collect();
    let every = |state| all.iter().all(|(_, condition)| condition.state == state);
    let state = match () {
        () if every(HealthState::Healthy) => return Condition::healthy(),
        () if every(HealthState::Unhealthy) => HealthState::Unhealthy,
        () if every(HealthState::Unknown) => HealthState::Unknown,
        () => HealthState::Degraded,
    };
    let bad = all.iter().filter(|(_, condition)| condition.state != HealthState::Healthy);
    let named = bad.map(|(name, condition)| match condition.why.strip_prefix("is not whole: ") {
        // The instances have the name in theirs.
        Some(instances) => instances.to_owned(),
        None => format!("{name} {}", condition.why),
    });
    Condition::new(state, listed(named))
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<_> = parts.collect();
    let named = parts.get(..NAMED).unwrap_or(&parts).join("; ");
    match parts.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

/// What happened, without the lines that it last wrote.
fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.strip_suffix("; it last wrote:").unwrap_or(line)
}

/// The reason in `unhealthy: it does not answer its health check: its process is stopped`.
fn last_part(text: &str) -> &str {
    let line = first_line(text);
    line.strip_prefix("unhealthy: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use plugmesh::admin::v1::InstanceKind;

    use super::*;
    use crate::config::{Config, PluginConfig, PluginOptions, Source};
    use crate::name::InstanceName;

    fn plugin(name: &str, stage: Stage, instances: &[(InstanceState, &str)]) -> Arc<PluginStatus> {
        let name: PluginName = name.parse().unwrap();
        let config =
            PluginConfig::new(name.clone(), Source::InProcess, PluginOptions::default(), &Config::default());
        let mut status = PluginStatus::new(Arc::new(config), stage);
        status.wanted = instances.len() as u32;
        for (ordinal, (state, message)) in (0..).zip(instances) {
            let instance = InstanceStatus {
                name: InstanceName::new(name.clone(), ordinal),
                kind: InstanceKind::Process,
                state: *state,
                message: (*message).to_owned(),
                incarnation: None,
                restarts: 0,
            };
            status.instances.insert(ordinal, instance);
        }
        Arc::new(status)
    }

    fn whole(plugins: &[Arc<PluginStatus>]) -> (HealthState, String) {
        let by_name = plugins.iter().map(|status| (status.config.name.clone(), status.clone())).collect();
        let Condition { state, why } = overall(&by_name);
        (state, why)
    }

    const READY: (InstanceState, &str) = (InstanceState::Ready, "");
    const CRASHES: (InstanceState, &str) =
        (InstanceState::CrashLoop, "it exited with status 1; it last wrote:\n  no luck");

    #[test]
    fn all_is_well_when_everything_that_should_run_does() {
        let plugins = [
            plugin("calc", Stage::Running, &[READY, READY]),
            plugin("off", Stage::Disabled, &[]),
            plugin("other", Stage::Skipped("no java".into()), &[]),
            plugin("sleeper", Stage::Idle, &[]),
        ];
        assert_eq!(whole(&plugins), (HealthState::Healthy, String::new()));
        assert_eq!(whole(&[]), (HealthState::Healthy, String::new()));
    }

    #[test]
    fn the_culprits_are_named() {
        let unwell = (InstanceState::Unhealthy, "unhealthy: its health is NOT_SERVING");
        let plugins = [
            plugin("calc", Stage::Running, &[READY, unwell]),
            plugin("text", Stage::Running, &[CRASHES, CRASHES]),
            plugin("well", Stage::Running, &[READY]),
        ];
        let why = "calc-1 is unhealthy: its health is NOT_SERVING; \
                   text is in a crash loop: it exited with status 1";
        assert_eq!(whole(&plugins), (HealthState::Degraded, why.to_owned()));
    }

    #[test]
    fn nothing_that_works_is_unhealthy_and_what_starts_is_not_known() {
        let failed = plugin("bad", Stage::Failed("it was not found\nanywhere".into()), &[]);
        let crashes = plugin("text", Stage::Running, &[CRASHES]);
        let why =
            "bad could not be started: it was not found; text is in a crash loop: it exited with status 1";
        assert_eq!(whole(&[failed, crashes]), (HealthState::Unhealthy, why.to_owned()));
        let starts = plugin("calc", Stage::Running, &[(InstanceState::Starting, "")]);
        assert_eq!(whole(&[starts]), (HealthState::Unknown, "calc is starting".to_owned()));
    }

    #[test]
    fn a_long_list_of_culprits_is_cut() {
        let names: Vec<_> = (0..9).map(|number| format!("p{number}")).collect();
        let plugins: Vec<_> = names.iter().map(|name| plugin(name, Stage::Running, &[CRASHES])).collect();
        let (state, why) = whole(&plugins);
        assert_eq!(state, HealthState::Unhealthy);
        assert!(why.starts_with("p0 is in a crash loop") && why.ends_with("; and 4 more"), "{why}");
    }
}
