//! Environment variables that a host sets for a plugin it launches.
//!
//! Beside these a plugin gets a short allow-list of the host's own variables (such as `PATH` and `HOME`)
//! and what its manifest names under `env`; nothing else leaks into it.

/// Where to listen: `unix:///absolute/path`, or `tcp://127.0.0.1:0` for a port of the plugin's choice.
pub const LISTEN: &str = "PLUGMESH_LISTEN";

/// File that a plugin told to listen on port 0 writes its bound address to, as `tcp://127.0.0.1:PORT`: first
/// to a file beside it, then renamed, so that the host never reads half of it.
pub const ADDRESS_FILE: &str = "PLUGMESH_ADDRESS_FILE";

/// PEM certificate chain to present; set together with [`TLS_KEY_FILE`] and [`TLS_CLIENT_CA_FILE`].
pub const TLS_CERT_FILE: &str = "PLUGMESH_TLS_CERT_FILE";

/// PEM private key of [`TLS_CERT_FILE`].
pub const TLS_KEY_FILE: &str = "PLUGMESH_TLS_KEY_FILE";

/// PEM certificates that a client, which is the host, must chain to. A client without one is refused.
pub const TLS_CLIENT_CA_FILE: &str = "PLUGMESH_TLS_CLIENT_CA_FILE";

/// File with the configuration as JSON, for plugins that do not take lifecycle phases.
pub const CONFIG_FILE: &str = "PLUGMESH_CONFIG_FILE";

/// Number of an inherited descriptor that reads end-of-file when the host is gone, however it went.
pub const LIFELINE_FD: &str = "PLUGMESH_LIFELINE_FD";

/// Name of the plugin, as in its manifest.
pub const PLUGIN: &str = "PLUGMESH_PLUGIN";

/// Name of the instance, `<plugin>-<ordinal>`.
pub const INSTANCE: &str = "PLUGMESH_INSTANCE";

/// Id of this incarnation of the instance.
pub const INSTANCE_ID: &str = "PLUGMESH_INSTANCE_ID";

/// Address of a host's gateway: `unix:///path` or `https://host:port`. The command line reads it too.
pub const HOST: &str = "PLUGMESH_HOST";
