//! Layers of the policy, as people write them.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Config, ConfigError, Context, Manifest, PluginConfig, PluginOptions};

fn host(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text.as_bytes(), Path::new("/etc/plugmesh.yaml"), &Context::process())
}

/// The policies of the plugin "calc", by the text of both files.
fn policies(host_file: &str, manifest: &str) -> Policies {
    let host = host(host_file).unwrap();
    let manifest = format!("name: calc\ncommand: ./calc\n{manifest}");
    let manifest =
        Manifest::parse(manifest.as_bytes(), Path::new("/calc/plugin.yaml"), &Context::process()).unwrap();
    let over =
        host.plugins.entries.values().next().map_or_else(PluginOptions::default, |e| e.options.clone());
    PluginConfig::from_manifest(manifest, &over, &host).policies
}

fn faults(text: &str) -> String {
    host(text).unwrap_err().to_string().replace("/etc/plugmesh.yaml:", "")
}

const LAYERED: &str = "
retry: {max_retries: 1, initial_interval: 10ms, max_interval: 1s}
circuit_breaker: {codes: [INTERNAL]}
plugins:
  calc:
    retry: {max_interval: 3s}
    policies:
      a.B: {retry: {max_retries: 4, jitter: 0}, idempotency: idempotent}
      a.B/C: {retry: {max_retries: 0}, hedging: {delay: p95}}
";

const MANIFEST: &str = "
retry: {initial_interval: 20ms, max_interval: 2s}
balance: random
policies:
  a.B/C: {hedging: {delay: 5ms, max_attempts: 3}, connection: {request_timeout: 1s}}
";

#[test]
fn each_layer_goes_over_the_one_below() {
    let policies = policies(LAYERED, MANIFEST);
    let ms = Duration::from_millis;
    let plugin = policies.of_plugin();
    assert_eq!((plugin.retry.max_retries, plugin.retry.initial_interval), (1, ms(20)));
    assert_eq!((plugin.retry.max_interval, plugin.balance.policy), (ms(3000), Balance::Random));
    let service = policies.of("a.B", Some("Other"), None);
    assert_eq!((service.retry.max_retries, service.retry.jitter), (4, 0.0));
    assert_eq!((service.idempotency, service.hedging.delay), (Idempotency::Idempotent, None));
    let method = policies.of("a.B", Some("C"), Some(Idempotency::NoSideEffects));
    assert_eq!((method.retry.max_retries, method.retry.jitter), (0, 0.0));
    assert_eq!((method.hedging.delay, method.hedging.max_attempts), (Some(HedgingDelay::P95), 3));
    assert_eq!(method.connection.request_timeout, Some(ms(1000)));
    assert_eq!(method.idempotency, Idempotency::Idempotent, "what people say goes over the descriptor");
    assert_eq!(policies.of("x.Y", Some("C"), None), plugin);
}

#[test]
fn each_value_knows_where_it_was_said() {
    let policies = policies(LAYERED, MANIFEST);
    let settings = policies.settings("a.B", Some("C"), Some(Idempotency::NoSideEffects));
    let of = |key: &str| {
        let setting = settings.iter().find(|setting| setting.key == key).unwrap();
        (setting.value.as_str(), setting.set_by)
    };
    assert_eq!(of("retry.max_retries"), ("0", SetBy::Method));
    assert_eq!(of("retry.jitter"), ("0", SetBy::Service));
    assert_eq!(of("retry.max_interval"), ("3s", SetBy::Plugin));
    assert_eq!(of("retry.initial_interval"), ("20ms", SetBy::Manifest));
    assert_eq!(of("circuit_breaker.codes"), ("INTERNAL", SetBy::Host));
    assert_eq!(of("circuit_breaker.failure_threshold"), ("7", SetBy::Default));
    assert_eq!(of("idempotency"), ("idempotent", SetBy::Service));
    assert_eq!(of("hedging.delay"), ("p95", SetBy::Method));
    let other = policies.settings("x.Y", Some("Z"), Some(Idempotency::NoSideEffects));
    assert_eq!((other[0].value.as_str(), other[0].set_by), ("no_side_effects", SetBy::Descriptor));
}

#[test]
fn a_limit_belongs_to_where_it_is_said() {
    let text = "plugins: {calc: {policies: {a.B: {rate_limit: {requests_per_second: 5}}}}}";
    let policies = policies(text, "");
    assert_eq!(policies.scope_of("rate_limit", "a.B", Some("C")), SetBy::Service);
    assert_eq!(policies.scope_of("rate_limit", "x.Y", Some("C")), SetBy::Default);
}

#[test]
fn every_value_that_is_shown_is_read_again() {
    let shown = Policies::default().plugin_settings();
    for Setting { key, value, .. } in shown.iter().filter(|setting| setting.key != "idempotency") {
        let (section, key) = key.split_once('.').unwrap();
        let value = match key {
            "codes" | "non_fatal_codes" => format!("[{value}]"),
            "members" => "[]".to_owned(),
            _ => value.clone(),
        };
        let text = format!("{section}: {{{key}: {value}}}");
        let config = host(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let again = Policies::default().with(SetBy::Host, config.policy).of_plugin();
        assert_eq!(again, Policy::default(), "{text}");
    }
}

#[test]
fn what_is_the_plugins_is_refused_for_some_of_its_calls() {
    let text = "plugins:\n  calc:\n    policies:\n      a.B: {circuit_breaker: {success_rate: 0.5}}\n";
    assert_eq!(
        faults(text),
        "4:31: plugins.calc.policies.a.B.circuit_breaker: success_rate is a matter of the whole plugin, and this is \
         about some of its calls (move it up to the plugin)"
    );
}

#[test]
fn faults_say_what_would_do() {
    for (text, fault) in [
        ("retry: {max_retries: 9}", "1:22: retry.max_retries: 9 is out of range: 0 to 4"),
        (
            "retry: {codes: [UNAVAILBLE]}",
            "1:17: retry.codes[0]: \"UNAVAILBLE\" is not a gRPC status code; did you mean UNAVAILABLE?",
        ),
        ("retry: {multiplier: fast}", "1:21: retry.multiplier: expected a number, found text"),
        (
            "balance: least",
            "1:10: balance: \"least\" is not one of round_robin, random, weighted_random, least_request, peak_ewma, \
             consistent_hash, least_latency, least_connections (did you mean least_latency?)",
        ),
        (
            "balance: {hash_header: X-User}",
            "1:24: balance.hash_header: \"X-User\" is not the name of metadata with text (use lower-case letters, \
             digits and '-', such as x-user-id)",
        ),
        (
            "balance: {members: [{weight: 2}]}",
            "1:21: balance.members[0]: a member is named by either instance or version",
        ),
        ("fallback: {answr: {}}", "1:12: fallback: unknown key \"answr\" (did you mean answer?)"),
        (
            "plugins: {calc: {policies: {a..B: {}}}}",
            "1:29: plugins.calc.policies: \"a..B\" is neither a service nor a method: write \
             acme.billing.v1.InvoiceService, or that with /Method",
        ),
        (
            "fallback: {answer: 3}",
            "1:20: fallback.answer: expected a mapping, the response message, found a number",
        ),
    ] {
        assert_eq!(faults(text), fault);
    }
}
