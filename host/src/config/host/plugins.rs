//! `plugins:`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::address::{Endpoint, client_tls};
use super::super::decode::{Decoder, Section, Segment, list, parsed, path, text};
use super::super::defaults::MAX_ENTRIES;
use super::super::fault::{Position, quote};
use super::super::glob::Glob;
use super::super::options::{PluginOptions, options};
use super::super::plugin::RemoteConfig;
use super::super::yaml::Node;
use crate::name::PluginName;

/// Which plugins a host runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginsConfig {
    /// Folders that are searched for manifests.
    pub directories: Vec<PathBuf>,
    /// Names of found plugins that run; empty for all.
    pub include: Vec<Glob>,
    /// Names of found plugins that do not, whatever `include` says.
    pub exclude: Vec<Glob>,
    /// Plugins by name.
    pub entries: BTreeMap<PluginName, PluginEntry>,
}

/// What the host says about one plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginEntry {
    /// Where the plugin comes from.
    pub origin: Origin,
    /// What it says over the manifest.
    pub options: PluginOptions,
    /// Where its key stands in the file.
    pub at: Position,
}

/// Where a plugin with an entry comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// From one of `directories`.
    Found,
    /// From this manifest.
    Manifest(PathBuf),
    /// It runs elsewhere.
    Remote(RemoteConfig),
}

impl PluginsConfig {
    /// Whether a plugin that was found in a directory runs, by its name.
    pub fn selects(&self, name: &PluginName) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name.as_str()));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

pub(super) fn plugins(d: &mut Decoder<'_>, node: &Node) -> Option<PluginsConfig> {
    let mut section = Section::open(d, node)?;
    let directories = section.optional(d, "directories", |d, node| list(d, node, MAX_ENTRIES, path));
    let include = section.optional(d, "include", |d, node| list(d, node, MAX_ENTRIES, parsed));
    let exclude = section.optional(d, "exclude", |d, node| list(d, node, MAX_ENTRIES, parsed));
    let mut entries = BTreeMap::new();
    for (key, node) in section.others() {
        let name = key.text.parse::<PluginName>();
        let entry = d.below(Segment::Key(key.text.clone()), |d| entry(d, node, key.at));
        match (name, entry) {
            (Ok(name), Some(entry)) => drop(entries.insert(name, entry)),
            (Ok(_), None) => {}
            (Err(why), _) => d.fault(key.at, why, None),
        }
    }
    Some(PluginsConfig {
        directories: directories.unwrap_or_default(),
        include: include.unwrap_or_default(),
        exclude: exclude.unwrap_or_default(),
        entries,
    })
}

fn entry(d: &mut Decoder<'_>, node: &Node, at: Position) -> Option<PluginEntry> {
    let mut section = Section::open(d, node)?;
    let manifest = section.optional(d, "manifest", path);
    let tls = section.optional(d, "tls", client_tls).map(Arc::new);
    let faulty_tls = section.has("tls") && tls.is_none();
    let endpoints = section.optional(d, "endpoints", |d, node| {
        let endpoints = list(d, node, MAX_ENTRIES, |d, node| endpoint(d, node, tls.as_ref(), faulty_tls))?;
        if endpoints.is_empty() {
            return d.refuse(node, "an empty list");
        }
        Some(endpoints.into_iter().flatten().collect::<Vec<_>>())
    });
    let mut clash = |key: &str, problem: &str, hint: &str| {
        if let Some(at) = section.key_position(key).filter(|_| section.has(key)) {
            d.fault(at, problem, Some(hint.into()));
        }
    };
    if section.has("endpoints") {
        clash("manifest", "manifest and endpoints are both given", "keep one of them");
        clash("instances", "instances does not go with endpoints", "each endpoint is one instance");
        clash("env", "env does not go with endpoints", "the host does not start the plugin");
    } else {
        clash(
            "tls",
            "tls goes with endpoints only",
            "a plugin that the host starts gets certificates from it",
        );
    }
    let options = options(d, &mut section);
    section.finish(d);
    let origin = match (endpoints, manifest) {
        (Some(endpoints), _) => Origin::Remote(RemoteConfig { endpoints }),
        (None, Some(manifest)) => Origin::Manifest(manifest),
        (None, None) => Origin::Found,
    };
    Some(PluginEntry { origin, options, at })
}

/// Some(None) for an endpoint whose only fault is that of `tls`, which is reported already.
fn endpoint(
    d: &mut Decoder<'_>,
    node: &Node,
    tls: Option<&Arc<super::super::address::ClientTls>>,
    faulty_tls: bool,
) -> Option<Option<Endpoint>> {
    let written = text(d, node)?;
    match Endpoint::parse(written, tls) {
        Ok(endpoint) => Some(Some(endpoint)),
        Err(super::super::address::InvalidEndpoint::NoTls) if faulty_tls => Some(None),
        Err(why) => d.refuse(node, format_args!("{}: {why}", quote(written))),
    }
}
