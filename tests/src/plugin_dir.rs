//! Plugins as `plugmesh serve` finds them.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::binaries::binary;

/// A directory with a `plugin.yaml`, to be.
#[derive(Clone, Debug)]
#[must_use = "a plugin is written when a daemon starts"]
pub struct PluginDir {
    name: String,
    manifest: String,
    env: String,
    files: Vec<(String, String)>,
}

impl PluginDir {
    /// The example calculator.
    pub fn calculator(instances: u32) -> Self {
        Self::command("calculator", binary("calculator")).instances(instances)
    }

    /// The plugin that does as it is told, see [`probe`](crate::probe).
    pub fn probe(instances: u32) -> Self {
        Self::named_probe("probe", instances)
    }

    /// A probe of another name.
    pub fn named_probe(name: &str, instances: u32) -> Self {
        Self::command(name, binary("probe")).instances(instances).env("PROBE_NAME", name)
    }

    /// The plugin that handles events as they say.
    pub fn listener(instances: u32) -> Self {
        Self::command("listener", binary("listener")).instances(instances)
    }

    /// The service that the interoperability clients of gRPC call.
    pub fn interop() -> Self {
        Self::command("interop", binary("interop"))
    }

    /// A plugin of any command.
    pub fn command(name: &str, command: &Path) -> Self {
        Self {
            name: name.into(),
            manifest: format!("name: {name}\ncommand: {:?}\n", command.display().to_string()),
            env: String::new(),
            files: Vec::new(),
        }
    }

    /// A plugin whose command is a shell script; it lies beside the manifest, executable.
    pub fn script(name: &str, script: &str) -> Self {
        Self::command(name, Path::new("./run.sh")).file("run.sh", &format!("#!/bin/sh\n{script}\n"))
    }

    /// Number of copies.
    pub fn instances(self, instances: u32) -> Self {
        self.line(&format!("instances: {instances}"))
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        writeln!(self.env, "  {name}: {value:?}").expect("a string");
        self
    }

    /// Any line of the manifest, or several.
    pub fn line(mut self, line: &str) -> Self {
        self.manifest.push_str(line);
        self.manifest.push('\n');
        self
    }

    /// A file beside the manifest; those that end in `.sh` are executable.
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }

    /// Name of the plugin and of its directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes it into a directory of its own below `parent`, and gives that directory.
    pub fn write(&self, parent: &Path) -> PathBuf {
        let dir = parent.join(&self.name);
        std::fs::create_dir_all(&dir).expect("a writable directory");
        let env = if self.env.is_empty() { String::new() } else { format!("env:\n{}", self.env) };
        std::fs::write(dir.join("plugin.yaml"), format!("{}{env}", self.manifest)).expect("a writable file");
        for (name, content) in &self.files {
            let file = dir.join(name);
            std::fs::write(&file, content).expect("a writable file");
            if name.ends_with(".sh") {
                std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).expect("our file");
            }
        }
        dir
    }
}
