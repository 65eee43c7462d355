//! What of the host's environment a plugin gets to see.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Variables that pass from the host to every plugin.
///
/// - finding programs and files: `PATH`, `HOME`, `USER`, `LOGNAME`, `SHELL`, `TMPDIR`
/// - language, time and terminal: `LANG`, `LANGUAGE`, `TZ`, `TZDIR`, `TERM` (and `LC_*`)
/// - trust in certificates: `SSL_CERT_FILE`, `SSL_CERT_DIR`
/// - shared libraries: `LD_LIBRARY_PATH`, `DYLD_FALLBACK_LIBRARY_PATH`
/// - runtimes that cannot be found without them: `JAVA_HOME`, `DOTNET_ROOT`, `PYENV_ROOT`, `PYENV_VERSION`
/// - diagnosis: `RUST_BACKTRACE`
///
/// What may hold a secret or changes what a program does (`*_TOKEN`, `LD_PRELOAD`, `PYTHONPATH`,
/// `JAVA_TOOL_OPTIONS`, proxies) does not pass; a manifest names it under `env`.
pub const ALLOWED: [&str; 20] = [
    "DOTNET_ROOT",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "HOME",
    "JAVA_HOME",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "RUST_BACKTRACE",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "TMPDIR",
    "TZ",
    "TZDIR",
    "USER",
];

/// Prefixes of further ones that pass.
pub const ALLOWED_PREFIXES: [&str; 1] = ["LC_"];

/// What only the host may set: a plugin of a plugin must not take its parent's place in a mesh.
const RESERVED_PREFIXES: [&str; 2] = ["PLUGMESH_", "PLUGIN_"];

/// Collects the environment of a plugin, each layer over the one before: what passes from the host, what
/// the manifest says, what the mesh says.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Keeps what passes of `source`, the host's environment (`std::env::vars_os()`).
    pub fn inherit(source: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { variables: source.into_iter().filter(|(name, _)| passes(name)).collect() }
    }

    /// Adds what the manifest sets. Reserved names (`PLUGMESH_*`, `PLUGIN_*`) are left out: they would lie
    /// about where the plugin stands.
    pub fn manifest<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.variables.extend(variables.filter(|(name, _)| !is_reserved(name)));
        self
    }

    /// Sets what the mesh tells the plugin, under a name of [`plugmesh::env`].
    pub fn set(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

impl IntoIterator for Environment {
    type Item = (OsString, OsString);
    type IntoIter = std::collections::btree_map::IntoIter<OsString, OsString>;

    fn into_iter(self) -> Self::IntoIter {
        self.variables.into_iter()
    }
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

fn passes(name: &OsStr) -> bool {
    ALLOWED.iter().any(|allowed| name == *allowed) || has_prefix(name, &ALLOWED_PREFIXES)
}

fn is_reserved(name: &OsStr) -> bool {
    has_prefix(name, &RESERVED_PREFIXES)
}

fn has_prefix(name: &OsStr, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        of.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn little_passes_and_later_layers_win() {
        let host = pairs(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("LD_PRELOAD", "x.so"),
            ("PLUGMESH_HOST", "unix:///outer"),
            ("PLUGIN_MIN_PORT", "1"),
            ("TZ", "UTC"),
        ]);
        let environment = Environment::inherit(host)
            .manifest([("TZ", "Asia/Tokyo"), ("GREETING", "hi"), ("PLUGMESH_LISTEN", "unix:///lie")])
            .set(plugmesh::env::LISTEN, "unix:///true");
        let expected = pairs(&[
            ("GREETING", "hi"),
            ("LC_ALL", "C"),
            ("PATH", "/bin"),
            ("PLUGMESH_LISTEN", "unix:///true"),
            ("TZ", "Asia/Tokyo"),
        ]);
        assert_eq!(environment.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn values_are_not_shown() {
        let environment = Environment::default().set("TOKEN", "hunter2");
        assert_eq!(format!("{environment:?}"), r#"{"TOKEN"}"#);
    }
}
