//! `Explain`: what would become of a call, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use plugmesh::admin::v1 as pb;

use super::convert;
use crate::code::code_name;
use crate::config::Setting;
use crate::host::Shared;
use crate::route::{Breaker, Candidate, Explanation, Method};
use crate::supervise::InstanceStatus;

/// In place of a method: any that nobody has described.
const ANY: &str = "*";

/// Says what would become of a call.
pub(crate) fn explain(shared: &Shared, request: &pb::ExplainRequest) -> pb::ExplainResponse {
    let pb::ExplainRequest { service, method, plugin } = request;
    let path = format!("/{service}/{}", if method.is_empty() { ANY } else { method });
    let chosen = Some(plugin.as_str()).filter(|plugin| !plugin.is_empty());
    match shared.mesh.router().find(&path, chosen) {
        Ok(method) => of_method(shared, &method),
        Err(error) => {
            let summary = format!("the call would fail with {}: {error}", code_name(error.code()));
            pb::ExplainResponse { summary, ..pb::ExplainResponse::default() }
        }
    }
}

fn of_method(shared: &Shared, method: &Arc<Method>) -> pb::ExplainResponse {
    let plugin = method.route().plugin();
    let explanation = method.explain();
    let status = shared.mesh.board().get(plugin);
    let instances = status.as_ref().map(|status| &status.instances);
    let candidates = candidates(&explanation, instances);
    let name = match method.name() {
        "" => method.service().to_string(),
        name => format!("{}/{name}", method.service()),
    };
    let Explanation { settings, balance, retry_budget, waiting, limit, queued, p95, .. } = explanation;
    pb::ExplainResponse {
        plugin: plugin.to_string(),
        policy: balance.to_string(),
        summary: summary(method, &candidates),
        candidates,
        settings: settings.into_iter().map(setting).collect(),
        method: name,
        retry_budget,
        waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
        in_flight_limit: limit.unwrap_or_default(),
        queued,
        p95: p95.and_then(|p95| p95.try_into().ok()),
    }
}

/// Those that the balancer knows, and instances that have no endpoint now.
fn candidates(
    explanation: &Explanation,
    instances: Option<&BTreeMap<u32, InstanceStatus>>,
) -> Vec<pb::Candidate> {
    let known =
        |name: &str| explanation.candidates.iter().any(|known| known.endpoint.name().as_str() == name);
    let instances = instances.into_iter().flat_map(BTreeMap::values);
    let without = instances.clone().filter(|instance| !known(instance.name.as_str()));
    let instance = |candidate: &Candidate| {
        let of_id = |instance: &&InstanceStatus| {
            instance
                .incarnation
                .as_ref()
                .is_some_and(|incarnation| incarnation.id == *candidate.endpoint.id())
        };
        instances.clone().find(of_id)
    };
    let known = explanation.candidates.iter().map(|one| {
        let instance = instance(one);
        let mut shown = candidate(one, instance.map(|instance| instance.state).unwrap_or_default());
        // The route does not know why it should not be picked.
        if let Some(warm) = instance.filter(|instance| instance.state == pb::InstanceState::Warm) {
            shown.reason = convert::state_in_words(warm);
        }
        shown
    });
    let mut candidates: Vec<_> = known
        .chain(without.map(|instance| pb::Candidate {
            instance: instance.name.to_string(),
            state: instance.state.into(),
            reason: convert::state_in_words(instance),
            ..pb::Candidate::default()
        }))
        .collect();
    candidates.sort_by(|a, b| a.instance.cmp(&b.instance));
    candidates
}

fn candidate(candidate: &Candidate, state: pb::InstanceState) -> pb::Candidate {
    let endpoint = &candidate.endpoint;
    let (breaker, rest) = match candidate.breaker {
        None => (pb::BreakerState::Unspecified, None),
        Some(Breaker::Closed) => (pb::BreakerState::Closed, None),
        Some(Breaker::Open(rest)) => (pb::BreakerState::Open, Some(rest)),
        Some(Breaker::HalfOpen) => (pb::BreakerState::HalfOpen, None),
    };
    pb::Candidate {
        instance: endpoint.name().to_string(),
        state: state.into(),
        in_flight: endpoint.in_flight(),
        eligible: candidate.is_eligible,
        reason: candidate.reason.clone(),
        weight: candidate.weight,
        priority: candidate.priority,
        latency: candidate.latency.and_then(|latency| latency.try_into().ok()),
        breaker: breaker.into(),
        breaker_rest: rest.and_then(|rest| rest.try_into().ok()),
        calls: endpoint.calls(),
        failures: endpoint.failures(),
    }
}

fn summary(method: &Method, candidates: &[pb::Candidate]) -> String {
    let plugin = method.route().plugin();
    let eligible: Vec<_> = candidates.iter().filter(|candidate| candidate.eligible).collect();
    match eligible.as_slice() {
        [] => {
            let timeout = humantime::format_duration(method.policy().connection.ready_timeout);
            format!(
                "no instance of {plugin} may be picked: the call would wait for one, at most for {timeout}"
            )
        }
        [only] => {
            format!("the call would go to {}, the one instance of {plugin} that may be picked", only.instance)
        }
        several => {
            let balance = method.policy().balance.policy;
            format!("the call would go to one of {} instances of {plugin}, by {balance}", several.len())
        }
    }
}

/// As `AdminService` shows it.
pub(super) fn setting(setting: Setting) -> pb::Setting {
    let Setting { key, value, set_by } = setting;
    pb::Setting { key, value, set_by: set_by.to_string() }
}
