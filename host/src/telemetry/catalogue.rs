//! Every metric there is.
//!
//! Names, attributes and units follow OpenTelemetry's conventions for RPC (1.40 and later); what they do not name is below
//! `plugmesh.`. docs/observability.md lists them, which a test compares.

use super::metrics::Kind;

/// What is always the same about a metric.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) kind: Kind,
    pub(super) description: &'static str,
}

macro_rules! catalogue {
    ($( $name:ident = $otel:literal, $unit:literal, $kind:ident, $description:literal; )*) => {
        $( pub(super) const $name: Meta =
            Meta { name: $otel, unit: $unit, kind: Kind::$kind, description: $description }; )*

        /// All of them.
        pub(super) fn all() -> impl Iterator<Item = Meta> {
            [$($name),*].into_iter()
        }
    };
}

catalogue! {
    CLIENT_DURATION = "rpc.client.call.duration", "s", Histogram, "Calls to plugins, from the pick of an instance to the end of the response, with all attempts.";
    SERVER_DURATION = "rpc.server.call.duration", "s", Histogram, "Calls that came to the gateway, whoever answered them.";
    IN_FLIGHT = "plugmesh.instance.in_flight", "{call}", UpDown, "Calls that an instance has not finished.";
    ATTEMPTS = "plugmesh.instance.attempts", "{attempt}", Counter, "Attempts that have ended on an instance since it started.";
    FAILURES = "plugmesh.instance.failures", "{attempt}", Counter, "Attempts that failed for a reason of the instance or its connection.";
    LATENCY = "plugmesh.instance.latency", "s", Gauge, "Latency that balancing assumes: the peak-EWMA.";
    INSTANCE_STATE = "plugmesh.instance.state", "1", Gauge, "1 for the state that an instance is in, 0 for the others.";
    INSTANCE_HEALTH = "plugmesh.instance.health", "1", Gauge, "1 for how well an instance is, 0 for the others.";
    HEALTH_TIME = "plugmesh.instance.health.response_time", "s", Gauge, "How long the last answer to a health check took.";
    RESTARTS = "plugmesh.instance.restarts", "{restart}", Counter, "Times that an instance was started again.";
    BREAKER_STATE = "plugmesh.breaker.state", "1", Gauge, "0 closed, 1 half-open, 2 open.";
    EJECTIONS = "plugmesh.breaker.ejections", "{ejection}", Counter, "Times that the breaker of an instance opened after it was closed.";
    PLUGIN_STATE = "plugmesh.plugin.state", "1", Gauge, "1 for the state that a plugin is in, 0 for the others.";
    PLUGIN_HEALTH = "plugmesh.plugin.health", "1", Gauge, "1 for how well a plugin is, 0 for the others.";
    WANTED = "plugmesh.plugin.instances.wanted", "{instance}", Gauge, "Instances that should take calls now.";
    READY = "plugmesh.plugin.instances.ready", "{instance}", Gauge, "Instances that take calls now.";
    RETRIES = "plugmesh.calls.retries", "{attempt}", Counter, "Attempts after one that failed.";
    HEDGES = "plugmesh.calls.hedges", "{attempt}", Counter, "Attempts beside one that had not answered.";
    OVER_BUDGET = "plugmesh.calls.over_budget", "{attempt}", Counter, "Attempts that were not made, since the retry budget was used up.";
    RATE_LIMITED = "plugmesh.calls.rate_limited", "{call}", Counter, "Calls refused by a rate limit.";
    SHED = "plugmesh.calls.shed", "{call}", Counter, "Calls refused because too many were in flight.";
    FALLBACKS = "plugmesh.calls.fallbacks", "{call}", Counter, "Calls answered by a fallback.";
    CACHE_HITS = "plugmesh.cache.hits", "{call}", Counter, "Calls answered from the cache.";
    CACHE_MISSES = "plugmesh.cache.misses", "{call}", Counter, "Calls that the cache could have answered and had nothing for.";
    BUDGET = "plugmesh.retry_budget.balance", "{attempt}", Gauge, "Retries and hedges that could be made now.";
    WAITING = "plugmesh.calls.waiting", "{call}", UpDown, "Calls that wait for an instance.";
    QUEUED = "plugmesh.calls.queued", "{call}", UpDown, "Calls that wait for a place among those in flight.";
    LIMIT = "plugmesh.calls.limit", "{call}", Gauge, "Calls that may be in flight, where there is a limit.";
    PUBLISHED = "plugmesh.events.published", "{event}", Counter, "Events that were published.";
    PUBLISHED_BYTES = "plugmesh.events.published.size", "By", Counter, "Bytes of the events that were published.";
    REFUSED = "plugmesh.events.refused", "{event}", Counter, "Events that were refused.";
    DUPLICATES = "plugmesh.events.duplicates", "{event}", Counter, "Events that were published a second time, and known.";
    PARTICIPANTS = "plugmesh.events.participants", "{stream}", UpDown, "Streams of events that are open.";
    DELIVERED = "plugmesh.events.delivered", "{event}", Counter, "Events that were sent to a subscriber for the first time.";
    REDELIVERED = "plugmesh.events.redelivered", "{event}", Counter, "Events that were sent once more.";
    ACKNOWLEDGED = "plugmesh.events.acknowledged", "{event}", Counter, "Events that were handled.";
    FAILED = "plugmesh.events.failed", "{event}", Counter, "Deliveries that a handler failed, or did not answer for in time.";
    DEAD_LETTERED = "plugmesh.events.dead_lettered", "{event}", Counter, "Events that were given up.";
    DROPPED = "plugmesh.events.dropped", "{event}", Counter, "Events that were dropped, because nobody took them or the journal lost them.";
    EVENTS_QUEUED = "plugmesh.events.queued", "{event}", UpDown, "Events that wait for a subscription in memory.";
    EVENTS_IN_FLIGHT = "plugmesh.events.in_flight", "{event}", UpDown, "Events that handlers are at.";
    LAG = "plugmesh.events.lag", "{event}", UpDown, "Events of the journal that a subscription has not handled, at most.";
    BLOCKED = "plugmesh.events.blocked_publishers", "{publisher}", UpDown, "Publishers that wait for room in a subscription.";
    JOURNAL_EVENTS = "plugmesh.journal.events", "{event}", UpDown, "Events that the journal holds.";
    JOURNAL_LETTERS = "plugmesh.journal.dead_letters", "{event}", UpDown, "Dead letters that the journal holds.";
    CONNECTIONS = "plugmesh.gateway.connections", "{connection}", UpDown, "Connections to the gateway.";
    START_TIME = "plugmesh.host.start_time", "s", Gauge, "When the host started, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_docs_list_every_metric_and_no_other() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observability.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let listed: BTreeSet<&str> =
            docs.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let listed: BTreeSet<&str> = listed
            .into_iter()
            .filter(|name| name.starts_with("rpc.") || name.starts_with("plugmesh."))
            .collect();
        let known: BTreeSet<&str> = all().map(|meta| meta.name).collect();
        assert_eq!(listed, known);
    }
}
