//! Both files as people write them: whole, and with mistakes.

mod docs;
mod faults;
mod hostile;
mod merge;

use std::path::Path;

use super::*;

/// The environment of these tests.
fn variable(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("hunter2".into()),
        "HOME" => Some("/home/somebody".into()),
        _ => None,
    }
}

fn context(platform: Platform) -> Context<'static> {
    Context { variable: &variable, platform }
}

const LINUX: Platform = Platform { os: "linux", arch: "x86_64" };

fn manifest(text: &str) -> Result<Manifest, ConfigError> {
    Manifest::parse(text.as_bytes(), Path::new("/plugins/calc/plugin.yaml"), &context(LINUX))
}

fn host(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text.as_bytes(), Path::new("/etc/plugmesh.yaml"), &context(LINUX))
}

/// The faults of a file, one a line, without the file's name.
fn faults<T>(read: Result<T, ConfigError>) -> Vec<String> {
    let Err(error) = read else { panic!("no fault was found") };
    let line = |line: &str| line.split_once(':').unwrap().1.to_owned();
    error.to_string().lines().map(line).collect()
}

#[test]
fn an_empty_host_file_is_the_default() {
    let config = host("").unwrap();
    assert_eq!(Config { file: None, ..config }, Config::default());
}

#[test]
fn the_least_manifest_is_two_lines() {
    let manifest = manifest("name: calc\ncommand: ./calc\n").unwrap();
    let program = Program::File("/plugins/calc/calc".into());
    assert_eq!(manifest.command, CommandLine { program, args: vec![] });
    assert_eq!(manifest.dir, Path::new("/plugins/calc"));
    assert_eq!(manifest.options, PluginOptions::default());
}

#[test]
fn commands_are_lines_lists_or_mappings_by_platform() {
    let command = |text: &str, platform| {
        let text = format!("name: a\ncommand: {text}\n");
        let read = Manifest::parse(text.as_bytes(), Path::new("/p/plugin.yaml"), &context(platform));
        read.unwrap().command.to_string()
    };
    let mac = Platform { os: "macos", arch: "aarch64" };
    assert_eq!(command("python3 'my plugin.py'", LINUX), "python3 my plugin.py");
    assert_eq!(command("[../bin/x, '$HOME']", LINUX), "/p/../bin/x $HOME");
    let map = "{linux/amd64: exact, linux: os, darwin/arm64: mac, default: any}";
    assert_eq!(command(map, LINUX), "exact");
    assert_eq!(command(map, Platform { arch: "aarch64", ..LINUX }), "os");
    assert_eq!(command(map, mac), "mac");
    assert_eq!(command(map, Platform { os: "windows", arch: "x86_64" }), "any");
}

#[test]
fn integers_in_a_plugins_config_stay_integers() {
    let text = "name: a\ncommand: a\nconfig: {big: 18446744073709551615, small: -9223372036854775808, \
                float: 1.5, text: '1', token: 'a ${env:TOKEN} $${b}', none: ~, list: [0x10, true]}";
    let config = manifest(text).unwrap().options.config.unwrap();
    let expected = serde_json::json!({
        "big": u64::MAX, "small": i64::MIN, "float": 1.5, "text": "1", "token": "a hunter2 ${b}",
        "none": null, "list": [16, true],
    });
    assert_eq!(config.value(), &expected);
}

#[test]
fn secrets_do_not_print() {
    let text = "name: a\ncommand: a\nenv: {A: '${env:TOKEN}', PORT: 8080}\nconfig: {a: '${env:TOKEN}'}";
    let manifest = manifest(text).unwrap();
    let variables = &manifest.options.env;
    assert_eq!((variables["A"].expose(), variables["PORT"].expose()), ("hunter2", "8080"));
    let plugin = PluginConfig::from_manifest(manifest.clone(), &PluginOptions::default(), &Config::default());
    let printed = format!("{manifest:?} {plugin:#?}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn anchors_and_aliases_work() {
    let manifest = manifest("name: a\ncommand: &run [a, b]\nbuild: {command: *run}\n").unwrap();
    assert_eq!(manifest.build.unwrap().command, BuildCommand::Exec(manifest.command));
}
