//! The mesh side: a host as a program links it, which starts the instances.

use std::path::PathBuf;

use plugmesh_benches::BoxError;
use plugmesh_benches::allocator::{self, Allocator};
use plugmesh_benches::process::{self, Cpus};
use plugmesh_host::Host;
use plugmesh_host::config::{Config, Context, Manifest, PluginConfig, PluginOptions, Secret};
use serde::{Deserialize, Serialize};

use crate::plan::INSTANCES;
use crate::plugin;
use crate::role::Role;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Where journals and control sockets are.
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
    /// `plugmesh.yaml`.
    pub(crate) host: String,
    /// Keys of `plugin.yaml`, beside those that say what to run.
    pub(crate) manifest: String,
}

/// A host with all instances ready.
pub(crate) async fn open(spec: &Spec) -> Result<Host, BoxError> {
    let config =
        Config::parse(spec.host.as_bytes(), &spec.folder.join("plugmesh.yaml"), &Context::process())?;
    let role = Role::Plugin(plugin::Spec { folder: spec.folder.clone(), seed: spec.seed });
    let (program, args) = process::command(&role, Cpus::All)?;
    // JSON is YAML.
    let text = format!(
        "name: {}\ncommand: {}\nargs: {}\ninstances: {INSTANCES}\n{}",
        plugin::NAME,
        serde_json::to_string(&[program])?,
        serde_json::to_string(&args)?,
        spec.manifest
    );
    let file = spec.folder.join("plugin.yaml");
    let mut manifest = Manifest::parse(text.as_bytes(), &file, &Context::process())?;
    // Not in the text, since names that start with PLUGMESH_ are the host's.
    let variables = [allocator::variable(Allocator::Mimalloc), plugin::QUIET];
    let variables = variables.map(|(name, value)| (name.to_owned(), Secret::new(value)));
    manifest.options.env.extend(variables);
    let plugin = PluginConfig::from_manifest(manifest, &PluginOptions::default(), &config);
    let host = Host::builder().config(config).open().await?;
    host.mesh().load(plugin).await?;
    all_ready(&host).await?;
    Ok(host)
}

/// Loading ends when one instance is ready. The benchmark bounds the wait.
async fn all_ready(host: &Host) -> Result<(), BoxError> {
    let ready = |plugin: &plugmesh_host::supervise::PluginStatus| {
        let states = plugin.instances.values().map(|instance| instance.state);
        states.filter(|state| *state == plugmesh::admin::v1::InstanceState::Ready).count()
            == INSTANCES as usize
    };
    let mut board = host.board().follow();
    board.wait_for(|plugins| plugins.values().any(|plugin| ready(plugin))).await?;
    Ok(())
}
