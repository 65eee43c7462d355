use super::*;

const CALC: &str = "\
name: calc
version: 1.2.3
command: ./calc
description: adds
labels: {team: a, tier: one}
env: {A: a, B: b}
instances: 2
config: {limits: {low: 1, high: 2}, mode: fast}
";

fn overridden(over: &str) -> PluginConfig {
    let host = host(&format!("max_message_size: 1MiB\nplugins: {{calc: {over}}}")).unwrap();
    let options = &host.plugins.entries[&"calc".parse().unwrap()].options;
    PluginConfig::from_manifest(manifest(CALC).unwrap(), options, &host)
}

fn policy(plugin: &PluginConfig) -> Policy {
    plugin.policies.of_plugin()
}

#[test]
fn the_host_has_the_last_word() {
    let plugin = overridden(
        "{labels: {tier: two}, env: {B: c}, instances: 3, config: {limits: {high: 5}, mode: ~}, enabled: false, \
          balance: round_robin, connection: {max_connections: 2}, start_timeout: 1s, requires: [text ^1]}",
    );
    let Source::Process(process) = &plugin.source else { panic!("not a process") };
    assert_eq!(process.instances.get(), 3);
    assert_eq!(
        process.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect::<Vec<_>>(),
        ["A=a", "B=c"]
    );
    assert_eq!(plugin.labels.values().collect::<Vec<_>>(), ["a", "two"]);
    assert_eq!(plugin.config.value(), &serde_json::json!({"limits": {"low": 1, "high": 5}}));
    assert_eq!((plugin.enabled, policy(&plugin).balance.policy), (false, Balance::RoundRobin));
    assert_eq!(policy(&plugin).connection.max_connections, 2);
    assert_eq!(plugin.start_timeout.as_secs(), 1);
    assert_eq!(plugin.requires[0].version.to_string(), "^1");
}

#[test]
fn what_nobody_says_is_a_default() {
    let plugin = overridden("{}");
    assert_eq!(plugin.version.as_ref().unwrap().to_string(), "1.2.3");
    assert_eq!((plugin.enabled, policy(&plugin).balance.policy), (true, Balance::LeastRequest));
    assert_eq!(policy(&plugin).connection.max_connections, defaults::MAX_CONNECTIONS);
    assert_eq!(plugin.max_message_size, ByteSize::mib(1));
    assert_eq!(plugin.start_timeout, defaults::START_TIMEOUT);
    assert_eq!(plugin.manifest.unwrap(), Path::new("/plugins/calc/plugin.yaml"));
}

#[test]
fn a_host_is_assembled_from_what_is_found_and_said() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for (folder, text) in [
        ("d/a", "name: twin\ncommand: ./first"),
        ("d/b", "name: twin\ncommand: ./second"),
        ("d/c", "name: bad"),
        ("d/e", "name: hidden\ncommand: x"),
        ("other", "name: elsewhere\ncommand: x"),
    ] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        std::fs::write(root.join(folder).join(MANIFEST_FILE), text).unwrap();
    }
    let text = "\
plugins:
  directories: [d]
  exclude: ['hid*']
  twin: {instances: 4}
  twim: {}
  elsewhere: {manifest: other/plugin.yaml}
  misnamed: {manifest: other/plugin.yaml}
  far: {endpoints: ['unix:///far.sock']}
";
    let file = root.join("plugmesh.yaml");
    let host = Config::parse(text.as_bytes(), &file, &context(LINUX)).unwrap();
    let Assembly { plugins, problems } = assemble(&host, search(&host.plugins.directories));
    assert_eq!(
        plugins.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>(),
        ["elsewhere", "far", "twin"]
    );
    let Source::Process(twin) = &plugins[2].source else { panic!("not a process") };
    assert!(twin.command.to_string().ends_with("d/a/first"));
    assert_eq!(twin.instances.get(), 4);
    let said: Vec<String> = problems
        .iter()
        .map(|problem| problem.to_string().replace(&format!("{}/", root.display()), ""))
        .collect();
    assert_eq!(
        said,
        [
            "d/b/plugin.yaml: the name twin is taken by d/a/plugin.yaml, which runs (rename one of them, or exclude it)",
            "d/c/plugin.yaml:1:1: command is missing",
            "plugmesh.yaml:7:3: plugins.misnamed: other/plugin.yaml names the plugin elsewhere (call the entry elsewhere)",
            "plugmesh.yaml:5:3: plugins.twim: no plugin of this name was found (did you mean twin?)",
        ]
    );
}

#[test]
fn supervision_merges_key_by_key_and_the_number_of_instances_as_a_whole() {
    let file = "health_check: {timeout: 3s, failure_limit: 7}\nrestart: {max_restarts: 9}\n\
                plugins: {calc: {instances: {min: 0, max: 4, warm: 1}, health_check: {timeout: 4s}}}";
    let host = host(file).unwrap();
    let options = &host.plugins.entries[&"calc".parse().unwrap()].options;
    let text = format!("{CALC}health_check: {{timeout: 1s, success_limit: 5}}\nrestart: {{period: 2m}}\n");
    let plugin = PluginConfig::from_manifest(manifest(&text).unwrap(), options, &host);
    let policy = plugin.policies.of_plugin();
    let check = policy.health_check;
    assert_eq!((check.timeout.as_secs(), check.failure_limit, check.success_limit), (4, 7, 5));
    assert_eq!((policy.restart.max_restarts, policy.restart.period.as_secs()), (9, 120));
    let Source::Process(process) = &plugin.source else { panic!("not a process") };
    assert_eq!(process.instances.get(), 1, "one at first, although none need stay");
    let scale = plugin.scale.unwrap();
    assert_eq!((scale.min, scale.max, scale.warm), (0, 4, 1));
    assert_eq!(overridden("{instances: 3}").scale, None);
}

#[test]
fn bounds_of_instances_that_make_no_sense_are_faults() {
    let fault = |instances: &str| {
        manifest(&format!("name: calc\ncommand: ./calc\ninstances: {instances}")).unwrap_err().to_string()
    };
    for (instances, expected) in [
        ("{min: 3, max: 2}", "instances: min is 3, and max only 2"),
        ("{max: 64, warm: 1}", "instances: max and warm together are more than 64"),
        ("{min: 1, idle_timeout: 1m}", "idle_timeout has no effect unless min is 0"),
        ("{mim: 1}", "unknown key \"mim\" (did you mean min?)"),
        ("{max: 0}", "0 is out of range: 1 to 64"),
    ] {
        let found = fault(instances);
        assert!(found.contains(expected), "{instances}: {found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}
