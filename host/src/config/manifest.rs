//! `plugin.yaml`: what a plugin says about itself.

use std::path::{Path, PathBuf};

use super::command::{BuildConfig, CommandLine, build, command};
use super::context::Context;
use super::decode::{self, Decoder, Section, choice, list, parsed, path, string, text};
use super::defaults::MAX_ENTRIES;
use super::fault::{ConfigError, quote};
use super::options::{PluginOptions, Transport, options};
use super::yaml::Node;
use crate::name::PluginName;

/// A manifest, read and checked. Paths in it are absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file it was read from.
    pub file: PathBuf,
    /// Name of the plugin.
    pub name: PluginName,
    /// What it does, for people.
    pub description: String,
    /// Who made it.
    pub author: String,
    /// What to run on this platform, with `args` at the end.
    pub command: CommandLine,
    /// Working directory; the manifest's folder by default.
    pub dir: PathBuf,
    /// How it is made, if it must be.
    pub build: Option<BuildConfig>,
    /// How the host reaches it.
    pub transport: Transport,
    /// Tools that must be on `PATH`, or the plugin is skipped.
    pub needs: Vec<String>,
    /// What `plugmesh.yaml` may override.
    pub options: PluginOptions,
}

impl Manifest {
    /// Reads a file with the process's environment.
    ///
    /// # Errors
    ///
    /// Every fault of the file, or why it cannot be read.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::load_with(file, &Context::process())
    }

    /// The same with an environment handed in.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load).
    pub fn load_with(file: &Path, context: &Context<'_>) -> Result<Self, ConfigError> {
        Self::parse(&decode::read_file(file)?, file, context)
    }

    /// Reads `bytes` as the content of `file`, which need not exist; its folder is what paths are relative to.
    ///
    /// # Errors
    ///
    /// Every fault.
    pub fn parse(bytes: &[u8], file: &Path, context: &Context<'_>) -> Result<Self, ConfigError> {
        decode::decode(bytes, file, context, |d, node| manifest(d, node, file))
    }
}

pub(super) fn manifest(d: &mut Decoder<'_>, node: &Node, file: &Path) -> Option<Manifest> {
    let mut section = Section::open(d, node)?;
    let name = section.required(d, "name", parsed::<PluginName>);
    let description = section.optional(d, "description", string).unwrap_or_default();
    let author = section.optional(d, "author", string).unwrap_or_default();
    let command = section.required(d, "command", command);
    let args = section.optional(d, "args", |d, node| list(d, node, MAX_ENTRIES, string)).unwrap_or_default();
    let dir = section.optional(d, "dir", path).unwrap_or_else(|| d.base.clone());
    let build = section.optional(d, "build", build);
    let transport = section.optional(d, "transport", |d, node| {
        choice(d, node, &[("unix", Transport::Unix), ("tcp", Transport::Tcp)])
    });
    let needs = section.optional(d, "needs", |d, node| list(d, node, MAX_ENTRIES, tool)).unwrap_or_default();
    section.optional(d, "on_host_death", on_host_death);
    let options = options(d, &mut section);
    section.finish(d);
    let mut command = command?;
    command.args.extend(args);
    Some(Manifest {
        file: std::path::absolute(file).unwrap_or_else(|_| file.into()),
        name: name?,
        description,
        author,
        command,
        dir,
        build,
        transport: transport.unwrap_or_default(),
        needs,
        options,
    })
}

/// A bare name, as it is looked up on `PATH`.
fn tool(d: &mut Decoder<'_>, node: &Node) -> Option<String> {
    let name = text(d, node)?;
    if name.is_empty() || name.contains('/') {
        return d.refuse_with(node, format_args!("{} is not a tool's name", quote(name)), "such as python3");
    }
    Some(name.into())
}

/// `keep` is a promise of a later version; until then only the default may be spelled out.
fn on_host_death(d: &mut Decoder<'_>, node: &Node) -> Option<()> {
    const RESERVED: &str = "keep is reserved for a later version: only kill is taken now";
    match &node.data {
        super::yaml::Data::Map(entries) if entries.iter().any(|(key, _)| key.text == "keep") => {
            d.refuse(node, RESERVED)
        }
        _ if matches!(text(d, node)?, "keep") => d.refuse(node, RESERVED),
        _ => choice(d, node, &[("kill", ())]),
    }
}
