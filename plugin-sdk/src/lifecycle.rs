//! What a plugin does before its first call and after its last.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use plugmesh::causes::with_causes;
use plugmesh::plugin::v1::Phase;
use serde::de::DeserializeOwned;
use tonic::Status;

use crate::{BoxError, Context};

/// The lifecycle of a plugin with state. Every method has a default that does nothing; write those you
/// need as plain `async fn`.
///
/// The host calls them in this order, one at a time, each at most once per session: [`pre_init`],
/// [`init`], [`post_init`]; and at the end, once nothing is in flight, [`pre_cleanup`] and [`cleanup`]. A
/// plugin that no host started runs them itself, with the configuration that `PLUGMESH_CONFIG_FILE`
/// names. A plugin that outlives its host may be started again in a new session: be ready for a second
/// `init`.
///
/// An error in a start phase means that the plugin did not start; the operator reads its message, causes
/// included. When the host stops waiting, the future is dropped at its next `await`.
///
/// Calls may come in before `init` from somebody who knows the socket; the host sends none.
///
/// [`pre_init`]: Lifecycle::pre_init
/// [`init`]: Lifecycle::init
/// [`post_init`]: Lifecycle::post_init
/// [`pre_cleanup`]: Lifecycle::pre_cleanup
/// [`cleanup`]: Lifecycle::cleanup
pub trait Lifecycle: Send + Sync + 'static {
    /// The configuration, read from JSON. `()` for a plugin that has none, `serde_json::Value` for any.
    ///
    /// Where there is no configuration, it is read from `null`, and if that does not fit from `{}`, so
    /// that a struct full of defaults works.
    type Config: DeserializeOwned + Send;

    /// Acquire what needs no configuration.
    fn pre_init(&self, context: &Context) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = context;
        std::future::ready(Ok(()))
    }

    /// Take the configuration. Plugins that this one requires are ready.
    fn init(
        &self,
        context: &Context,
        config: Self::Config,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (context, config);
        std::future::ready(Ok(()))
    }

    /// Start background work. Calls come after this.
    fn post_init(&self, context: &Context) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = context;
        std::future::ready(Ok(()))
    }

    /// Stop background work. Nothing is in flight; plugins that require this one have stopped.
    fn pre_cleanup(&self, context: &Context) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = context;
        std::future::ready(Ok(()))
    }

    /// Release everything.
    fn cleanup(&self, context: &Context) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = context;
        std::future::ready(Ok(()))
    }
}

/// So that a service and the lifecycle can share their state.
impl<L: Lifecycle> Lifecycle for Arc<L> {
    type Config = L::Config;

    fn pre_init(&self, context: &Context) -> impl Future<Output = Result<(), BoxError>> + Send {
        L::pre_init(self, context)
    }

    fn init(
        &self,
        context: &Context,
        config: Self::Config,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        L::init(self, context, config)
    }

    fn post_init(&self, context: &Context) -> impl Future<Output = Result<(), BoxError>> + Send {
        L::post_init(self, context)
    }

    fn pre_cleanup(&self, context: &Context) -> impl Future<Output = Result<(), BoxError>> + Send {
        L::pre_cleanup(self, context)
    }

    fn cleanup(&self, context: &Context) -> impl Future<Output = Result<(), BoxError>> + Send {
        L::cleanup(self, context)
    }
}

/// A [`Lifecycle`] of any type.
pub(crate) type DynLifecycle = Arc<dyn Erased>;

pub(crate) trait Erased: Send + Sync + 'static {
    fn run<'a>(&'a self, step: Step<'a>, context: &'a Context) -> BoxFuture<'a, Result<(), BoxError>>;
}

/// A phase with what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    PreInit,
    Init { config_json: &'a [u8] },
    PostInit,
    PreCleanup,
    Cleanup,
}

impl<'a> Step<'a> {
    pub(crate) fn new(phase: Phase, config_json: &'a [u8]) -> Option<Self> {
        match phase {
            Phase::Unspecified => None,
            Phase::PreInit => Some(Self::PreInit),
            Phase::Init => Some(Self::Init { config_json }),
            Phase::PostInit => Some(Self::PostInit),
            Phase::PreCleanup => Some(Self::PreCleanup),
            Phase::Cleanup => Some(Self::Cleanup),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PreInit => "pre_init",
            Self::Init { .. } => "init",
            Self::PostInit => "post_init",
            Self::PreCleanup => "pre_cleanup",
            Self::Cleanup => "cleanup",
        }
    }
}

impl<L: Lifecycle> Erased for L {
    fn run<'a>(&'a self, step: Step<'a>, context: &'a Context) -> BoxFuture<'a, Result<(), BoxError>> {
        match step {
            Step::PreInit => Box::pin(self.pre_init(context)),
            Step::Init { config_json } => Box::pin(async move {
                let config = read_config(config_json)?;
                self.init(context, config).await
            }),
            Step::PostInit => Box::pin(self.post_init(context)),
            Step::PreCleanup => Box::pin(self.pre_cleanup(context)),
            Step::Cleanup => Box::pin(self.cleanup(context)),
        }
    }
}

/// The status that a failed phase answers with. A `Status` among the causes keeps its code.
pub(crate) fn failure(error: BoxError) -> Status {
    match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(error) => Status::unknown(with_causes(&*error)),
    }
}

fn read_config<C: DeserializeOwned>(json: &[u8]) -> Result<C, BoxError> {
    let json = if json.is_empty() { b"null" } else { json };
    let read = serde_json::from_slice(json);
    let read = if json == b"null" { read.or_else(|_| serde_json::from_slice(b"{}")) } else { read };
    read.map_err(|error| Status::invalid_argument(format!("the configuration does not fit: {error}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default)]
        greeting: Option<String>,
    }

    #[test]
    fn no_configuration_suits_a_struct_of_defaults() {
        assert!(read_config::<Config>(b"").unwrap().greeting.is_none());
        assert!(read_config::<Config>(b"null").unwrap().greeting.is_none());
        read_config::<()>(b"null").unwrap();
    }

    #[test]
    fn a_wrong_configuration_says_where() {
        let error = read_config::<Config>(br#"{"greeting": 1}"#).err().unwrap();
        let status = failure(error);
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "the configuration does not fit: invalid type: integer `1`, expected a string at line 1 column 14"
        );
    }
}
