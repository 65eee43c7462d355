//! From what was found and what the host says to the plugins that run.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use super::fault::{ConfigError, Faults};
use super::host::{Config, Origin, PluginEntry};
use super::manifest::Manifest;
use super::plugin::PluginConfig;
use super::search::Found;
use crate::closest::closest;
use crate::name::PluginName;

/// The plugins of a host, and what is wrong with the rest.
#[derive(Debug, Default)]
pub struct Assembly {
    /// One of each name, sorted by name. Disabled ones are among them.
    pub plugins: Vec<PluginConfig>,
    /// Manifests that cannot be used, names that are taken twice, entries without a plugin. None of them
    /// keeps `plugins` from running.
    pub problems: Vec<ConfigError>,
}

/// Lays `host` over `found`, and reads the manifests that its entries name.
///
/// Of two found plugins of one name, the first by path runs and a problem names both. An entry with a
/// manifest or endpoints of its own goes before a found plugin of that name.
pub fn assemble(host: &Config, found: Found) -> Assembly {
    let mut problems = Vec::new();
    let mut found = found_by_name(host, found, &mut problems);
    let mut plugins: BTreeMap<PluginName, PluginConfig> = BTreeMap::new();
    for (name, entry) in &host.plugins.entries {
        match from_entry(host, name, entry, &mut found) {
            Ok(plugin) => drop(plugins.insert(name.clone(), plugin)),
            Err(error) => problems.push(error),
        }
    }
    for (name, manifest) in found {
        let plugin = PluginConfig::from_manifest(manifest, &Default::default(), host);
        plugins.entry(name).or_insert(plugin);
    }
    Assembly { plugins: plugins.into_values().collect(), problems }
}

fn found_by_name(
    host: &Config,
    found: Found,
    problems: &mut Vec<ConfigError>,
) -> BTreeMap<PluginName, Manifest> {
    let mut by_name = BTreeMap::new();
    for (_, read) in found.manifests {
        let manifest = match read {
            Ok(manifest) => manifest,
            Err(error) => {
                problems.push(error);
                continue;
            }
        };
        if !host.plugins.selects(&manifest.name) {
            continue;
        }
        match by_name.entry(manifest.name.clone()) {
            Entry::Vacant(entry) => drop(entry.insert(manifest)),
            Entry::Occupied(first) => problems.push(taken(&manifest, first.get())),
        }
    }
    by_name
}

fn taken(manifest: &Manifest, first: &Manifest) -> ConfigError {
    let problem = format!("the name {} is taken by {}, which runs", manifest.name, first.file.display());
    ConfigError::of_file(&manifest.file, problem, Some("rename one of them, or exclude it".into()))
}

fn from_entry(
    host: &Config,
    name: &PluginName,
    entry: &PluginEntry,
    found: &mut BTreeMap<PluginName, Manifest>,
) -> Result<PluginConfig, ConfigError> {
    let options = &entry.options;
    match &entry.origin {
        Origin::Remote(remote) => {
            Ok(PluginConfig::remote(name.clone(), remote.clone(), options.clone(), host))
        }
        Origin::Found => match found.remove(name) {
            Some(manifest) => Ok(PluginConfig::from_manifest(manifest, options, host)),
            None => Err(not_found(host, name, entry, found)),
        },
        Origin::Manifest(file) => {
            let manifest = Manifest::load(file)?;
            if manifest.name == *name {
                return Ok(PluginConfig::from_manifest(manifest, options, host));
            }
            let problem = format!("{} names the plugin {}", file.display(), manifest.name);
            Err(of_entry(host, name, entry, problem, format!("call the entry {}", manifest.name)))
        }
    }
}

fn not_found(
    host: &Config,
    name: &PluginName,
    entry: &PluginEntry,
    found: &BTreeMap<PluginName, Manifest>,
) -> ConfigError {
    let others = host.plugins.entries.keys().filter(|other| *other != name);
    let close = closest(name.as_str(), found.keys().chain(others).map(PluginName::as_str));
    let hint = match close {
        Some(close) => format!("did you mean {close}?"),
        None => "give it a manifest or endpoints, or a directory that holds it".into(),
    };
    of_entry(host, name, entry, "no plugin of this name was found", hint)
}

fn of_entry(
    host: &Config,
    name: &PluginName,
    entry: &PluginEntry,
    problem: impl Into<String>,
    hint: String,
) -> ConfigError {
    let file = host.file.clone().unwrap_or_else(|| PathBuf::from("plugmesh.yaml"));
    let mut faults = Faults::new(&file);
    faults.add(entry.at, format!("plugins.{name}"), problem, Some(hint));
    faults.into_error()
}
