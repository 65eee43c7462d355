//! `config check`: what the files say, and what comes out. Nothing is started.

use std::path::PathBuf;

use plugmesh::admin::v1::Setting;
use serde::Serialize;

use super::args::ConfigCheckArgs;
use super::commands::settings;
use super::error::CliError;
use super::exit::Exit;
use super::human::{count, printable};
use super::terminal::{Terminal, Tone};
use crate::config::{
    self, Assembly, Config, ConfigError, PluginConfig, PolicyTarget, SetBy, assemble, search,
};

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigCheckError {
    #[error("nothing to check")]
    Nothing,
    #[error("{0} is no directory")]
    NotADirectory(PathBuf),
    #[error("{0} is no file")]
    NoConfig(PathBuf),
    #[error("there is no plugin {0}")]
    NoPlugin(String),
}

impl ConfigCheckError {
    /// What to do next.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Nothing => Some("name a directory with plugins, or a --config".into()),
            Self::NotADirectory(_) | Self::NoConfig(_) | Self::NoPlugin(_) => None,
        }
    }
}

/// One policy: of a plugin, or of some of its calls.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Effective {
    plugin: String,
    /// `package.Service` or `package.Service/Method`; the whole plugin without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    settings: Vec<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    key: String,
    value: String,
    set_by: String,
}

/// Reads the files that `serve` would read, and prints the policy of each plugin.
///
/// # Errors
///
/// There is nothing to check. Faults of the files are printed, and make the exit code 1.
pub(crate) fn check(args: &ConfigCheckArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let (assembly, faults) = read(args)?;
    let plugins: Vec<_> = assembly
        .plugins
        .iter()
        .filter(|plugin| args.plugin.as_ref().is_none_or(|name| plugin.name.as_str() == name))
        .collect();
    if let Some(name) = args.plugin.as_ref().filter(|_| plugins.is_empty() && faults.is_empty()) {
        return Err(ConfigCheckError::NoPlugin(name.clone()).into());
    }
    let policies: Vec<_> = plugins.iter().copied().flat_map(effective).collect();
    let exit = if faults.is_empty() { Exit::OK } else { Exit::FAILURE };
    if terminal.is_json() {
        let faults: Vec<_> = faults
            .iter()
            .flat_map(|fault| fault.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        terminal.json(&serde_json::json!({ "faults": faults, "policies": policies }))?;
        return Ok(exit);
    }
    for policy in &policies {
        show(policy, args.all, terminal)?;
    }
    let paint = terminal.paint();
    for fault in &faults {
        for line in fault.to_string().lines() {
            terminal.line(format_args!("{} {}", paint.tone(Tone::Bad, "✗"), printable(line)))?;
        }
    }
    let total = count(plugins.len(), "plugin");
    terminal.line(match faults.len() {
        0 => paint.tone(Tone::Good, format_args!("{total}: the configuration is good")).to_string(),
        _ => paint.tone(Tone::Bad, format_args!("{total}: the configuration has faults")).to_string(),
    })?;
    Ok(exit)
}

fn read(args: &ConfigCheckArgs) -> Result<(Assembly, Vec<ConfigError>), CliError> {
    if args.dirs.is_empty() && args.config.is_none() {
        return Err(ConfigCheckError::Nothing.into());
    }
    if let Some(dir) = args.dirs.iter().find(|dir| !dir.is_dir()) {
        return Err(ConfigCheckError::NotADirectory(dir.clone()).into());
    }
    if let Some(file) = args.config.as_ref().filter(|file| !file.is_file()) {
        return Err(ConfigCheckError::NoConfig(file.clone()).into());
    }
    let config = match config::file_of(args.config.as_deref(), &args.dirs) {
        Some(file) => match Config::load(&file) {
            Ok(config) => config,
            Err(error) => return Ok((Assembly::default(), vec![error])),
        },
        None => Config::default(),
    };
    let directories: Vec<_> = config.plugins.directories.iter().chain(&args.dirs).cloned().collect();
    let mut assembly = assemble(&config, search(&directories));
    let faults = std::mem::take(&mut assembly.problems);
    Ok((assembly, faults))
}

fn effective(plugin: &PluginConfig) -> Vec<Effective> {
    let name = plugin.name.to_string();
    let whole =
        Effective { plugin: name.clone(), target: None, settings: values(plugin.policies.plugin_settings()) };
    let target = |PolicyTarget { service, method }: &PolicyTarget| Effective {
        plugin: name.clone(),
        target: Some(match method {
            Some(method) => format!("{service}/{method}"),
            None => service.clone(),
        }),
        settings: values(plugin.policies.settings(service, method.as_deref(), None)),
    };
    std::iter::once(whole).chain(plugin.policies.targets().map(target)).collect()
}

fn values(settings: Vec<config::Setting>) -> Vec<Value> {
    let value = |config::Setting { key, value, set_by }| Value { key, value, set_by: set_by.to_string() };
    settings.into_iter().map(value).collect()
}

/// What somebody said, or everything.
fn show(policy: &Effective, all: bool, terminal: &mut Terminal) -> Result<(), CliError> {
    let paint = terminal.paint();
    let title = policy
        .target
        .as_ref()
        .map_or_else(|| policy.plugin.clone(), |target| format!("{} {target}", policy.plugin));
    terminal.line(paint.bold(printable(&title)))?;
    let default = SetBy::Default.to_string();
    let shown: Vec<_> = policy
        .settings
        .iter()
        .filter(|value| all || value.set_by != default)
        .map(|Value { key, value, set_by }| Setting {
            key: key.clone(),
            value: value.clone(),
            set_by: set_by.clone(),
        })
        .collect();
    match shown.is_empty() {
        true => terminal.line("the defaults; --all shows them")?,
        false => terminal.table(settings(shown.iter()))?,
    }
    terminal.line("")
}
