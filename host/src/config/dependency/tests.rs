use super::*;
use crate::config::{Config, PluginOptions, RemoteConfig, Source};

/// `name version requirement…`; a requirement is `name`, `name@range`, or `?name` for an optional one.
fn plugin(line: &str) -> PluginConfig {
    let mut words = line.split_whitespace();
    let (name, version) = (words.next().unwrap(), words.next().unwrap());
    let requires = words.map(|word| {
        let (name, range) = word.split_once('@').unwrap_or((word, "*"));
        let plugin = name.trim_start_matches('?').parse().unwrap();
        Requirement { plugin, version: range.parse().unwrap(), optional: name.starts_with('?') }
    });
    let options = PluginOptions {
        version: version.parse().ok(),
        requires: Some(requires.collect()),
        enabled: Some(version != "off"),
        ..PluginOptions::default()
    };
    let source = Source::Remote(RemoteConfig { endpoints: Vec::new() });
    PluginConfig::new(name.parse().unwrap(), source, options, &Config::default())
}

fn planned(lines: &[&str]) -> (Vec<String>, Vec<String>) {
    let StartPlan { levels, problems } = plan(&lines.iter().map(|line| plugin(line)).collect::<Vec<_>>());
    let level = |level: Vec<PluginName>| level.iter().map(PluginName::as_str).collect::<Vec<_>>().join(" ");
    (levels.into_iter().map(level).collect(), problems.iter().map(ToString::to_string).collect())
}

#[test]
fn levels_follow_requirements() {
    let (levels, problems) = planned(&["a - b c", "b 1.2.0 d", "c - d", "d -", "e - b@^1.1"]);
    assert_eq!(levels, ["d", "b c", "a e"]);
    assert!(problems.is_empty());
}

#[test]
fn a_missing_or_disabled_plugin_blocks_those_who_need_it_and_no_others() {
    let (levels, problems) =
        planned(&["a - calculater", "b - a", "c - ?a ?none ?off", "calculator -", "d - off", "off off"]);
    assert_eq!(levels, ["c calculator"]);
    assert_eq!(
        problems,
        [
            "a requires calculater, which is not there; did you mean calculator?",
            "d requires off, which is disabled",
            "b requires a, which cannot start",
        ]
    );
}

#[test]
fn a_version_must_fit_even_where_the_plugin_is_optional() {
    let (levels, problems) = planned(&["a - ?b@^2", "b 1.9.0", "c - d@1", "d -"]);
    assert_eq!(levels, ["b d"]);
    assert_eq!(
        problems,
        ["a requires b ^2, and 1.9.0 is there", "c requires d ^1, and its manifest gives no version"]
    );
}

#[test]
fn cycles_are_printed_and_spare_the_rest() {
    let (levels, problems) =
        planned(&["c - b", "b - a", "a - c", "x - y", "y - ?x", "self - self", "z - a", "ok -"]);
    assert_eq!(levels, ["ok"]);
    assert_eq!(
        problems,
        [
            "plugins require each other in a circle: a → c → b → a; make one of the requirements optional, or remove it",
            "z requires a, which cannot start",
            "plugins require each other in a circle: self → self; make one of the requirements optional, or remove it",
            "plugins require each other in a circle: x → y → x; make one of the requirements optional, or remove it",
        ]
    );
}
