//! Why a plugin could not be served.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::BoxError;

/// Why a plugin could not be served. `Display` and `Debug` both say what is wrong, where, and what to do:
/// `main` prints the error it returns with `Debug`, and that line reaches the operator.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name is not one that a host accepts.
    #[error(
        "{name:?} is not a plugin name: use 1 to 63 lower-case letters, digits and '-', starting with a \
         letter and not ending with '-'"
    )]
    Name {
        /// The name given to `Plugin::new`, or to `requires`, cut to a readable length.
        name: String,
    },
    /// The version is not SemVer.
    #[error("{version:?} is not a SemVer version such as 1.2.3: {source}")]
    Version {
        /// The version given to `Plugin::new`.
        version: String,
        /// Where it goes wrong.
        source: semver::Error,
    },
    /// The version range of a dependency is not a SemVer range.
    #[error("the plugin requires {plugin} in version {range:?}, which is not a range such as ^1.2: {source}")]
    Range {
        /// The plugin depended on.
        plugin: String,
        /// The range given for it.
        range: String,
        /// Where it goes wrong.
        source: semver::Error,
    },
    /// Something that the plugin says about itself breaks a bound of the contract.
    #[error("{0}")]
    Metadata(String),
    /// Two services have the same name, or one has the name of a service that this crate serves itself.
    #[error(
        "service {0} is added twice: health, reflection and plugmesh.plugin.v1 are added by the SDK itself"
    )]
    DuplicateService(String),
    /// An environment variable has a value that makes no sense.
    #[error("{variable}={value:?}: {reason}")]
    Setting {
        /// Which variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// The address to listen on could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The certificates do not do.
    #[error("the TLS files are of no use: {0}")]
    Tls(String),
    /// No tokio runtime, or none of its signal handlers, could be made.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    /// A start phase of a plugin that nobody manages failed.
    #[error("the plugin did not start: {phase} failed: {source}")]
    Start {
        /// Which phase.
        phase: &'static str,
        /// What it failed with.
        source: BoxError,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
