//! `fallback` and `cache`: what callers get when no instance answers.

use std::time::Duration;

use super::super::decode::{Decoder, boolean, parsed, size};
use super::super::defaults::TIMEOUTS;
use super::super::json::{JsonConfig, json};
use super::super::size::ByteSize;
use super::super::yaml::Node;
use super::section::{Shown, or_none, section, shown_as_text, time};
use crate::name::PluginName;

shown_as_text!(PluginName);

impl Shown for JsonConfig {
    fn shown(&self) -> String {
        self.to_json()
    }
}

section! {
    /// What calls get when no instance of the plugin is there for them.
    Fallback, FallbackSaid {
        /// Another plugin that provides the same service. Its own fallback is not asked.
        [call] plugin: Option<PluginName> = None, or_none(parsed);
        /// A fixed answer: the response message as JSON. For methods that do not stream and whose descriptor is known.
        [call] answer: Option<JsonConfig> = None, or_none(answer);
    }
}

fn answer(d: &mut Decoder<'_>, node: &Node) -> Option<JsonConfig> {
    match json(d, node)? {
        answer if answer.value().is_object() => Some(answer),
        _ => d.mismatch(node, "a mapping, the response message"),
    }
}

section! {
    /// Answers that are kept, and given when a call fails for want of an instance. Only for methods that have no side effects,
    /// by their descriptor or by `idempotency`, and that do not stream.
    Cache, CacheSaid {
        /// Whether answers are kept, once there is a time.
        [call] enabled: bool = true, boolean;
        /// How old an answer may be that is given. None: nothing is kept.
        [call] ttl: Option<Duration> = None, or_none(time(TIMEOUTS));
        /// Bytes of requests and answers that are kept for the whole plugin.
        [plugin] max_size: ByteSize = ByteSize::mib(16), |d, node| size(d, node, &(ByteSize::kib(1)..=ByteSize::mib(1024)));
    }
}
