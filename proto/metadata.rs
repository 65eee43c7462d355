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

/// Set by the host on responses that no instance of the called plugin gave: the plugin that answered in its place, or
/// [`FALLBACK_ANSWER`].
pub const FALLBACK: &str = "plugmesh-fallback";

/// Value of [`FALLBACK`] for the fixed answer of the configuration.
pub const FALLBACK_ANSWER: &str = "answer";

/// Set by the host on responses that it gives a second time: [`CACHE_STALE`]. `age` tells how old they are, in seconds.
pub const CACHE: &str = "plugmesh-cache";

/// Value of [`CACHE`] for an answer that was kept and is given because the call failed.
pub const CACHE_STALE: &str = "stale";
