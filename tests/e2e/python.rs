//! The example plugins in Python, built and run by their own manifests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use plugmesh::admin::v1::PluginState;
use plugmesh_tests::{Daemon, DaemonBuilder, tools};
use tokio::sync::OnceCell;

/// How long a build may take, which downloads grpcio.
const BUILD: Duration = Duration::from_secs(300);

/// What pip may need to reach its index, which the daemon's own environment in a test has not.
const PIP: [&str; 4] = ["PIP_", "SSL_CERT_", "HTTP", "http"];

/// The one that changes texts.
pub(crate) static TEXT: Example = Example::new("text");

/// The one that publishes events.
pub(crate) static ACCOUNTS: Example = Example::new("accounts");

/// One of them.
pub(crate) struct Example {
    name: &'static str,
    built: OnceCell<Option<()>>,
}

impl Example {
    const fn new(name: &'static str) -> Self {
        Self { name, built: OnceCell::const_new() }
    }

    /// The directory of the plugin.
    pub(crate) fn directory(&self) -> PathBuf {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins");
        plugins.join(self.name).canonicalize().unwrap()
    }

    /// A daemon with the plugin, to be; `config` goes on where `plugins:` of its file has begun.
    pub(crate) fn daemon(&self, config: &str) -> DaemonBuilder {
        let config = format!("plugins:\n  directories: [{:?}]\n{config}", self.directory());
        let daemon = Daemon::builder().config(config);
        let variables =
            std::env::vars().filter(|(name, _)| PIP.iter().any(|prefix| name.starts_with(prefix)));
        variables.fold(daemon, |daemon, (name, value)| daemon.env(&name, &value))
    }

    /// Has a daemon build the plugin, once for all tests; `None`, said loudly, where that does not work.
    pub(crate) async fn built(&self) -> Option<()> {
        let build = || async {
            if !tools::require_tool("python3") {
                return None;
            }
            let daemon = self.daemon("").start_within(BUILD).await;
            if daemon.plugin(self.name).await.state() != PluginState::Ready {
                let (name, log) = (self.name, daemon.log());
                tools::skipped(&format!("this test needs the plugin {name}, which did not start:\n{log}"));
                return None;
            }
            Some(())
        };
        *self.built.get_or_init(build).await
    }
}
