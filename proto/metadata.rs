//! gRPC metadata keys that the mesh gives a meaning to.
//!
//! Keys under `plugmesh-` are reserved: a gateway removes them from what comes in, but for
//! [`PLUGIN`], [`INSTANCE`] and [`TOKEN`], which it reads.

/// Prefix of every reserved key.
pub const PREFIX: &str = "plugmesh-";

/// Chooses a plugin when several provide the service; scopes health and reflection to it.
pub const PLUGIN: &str = "plugmesh-plugin";

/// Pins one instance: by name, which follows restarts, or by id, which is gone with the incarnation.
pub const INSTANCE: &str = "plugmesh-instance";

/// The callback token of a plugin, from its handshake. Never forwarded.
pub const TOKEN: &str = "plugmesh-token";

/// Set by the host on calls it forwards: who calls, such as `operator`, `app` or `plugin/NAME/INSTANCE`.
pub const CALLER: &str = "plugmesh-caller";
