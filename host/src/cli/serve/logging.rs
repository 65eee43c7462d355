//! What a host logs, and where: standard error.

mod line;

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::cli::terminal::Terminal;
use crate::config::{LogConfig, LogFormat};
use crate::telemetry::Traces;

/// Overrides the configured level.
const VARIABLE: &str = "PLUGMESH_LOG";

/// The logging of this process.
#[derive(Debug)]
pub(crate) struct Logging {
    filter: Handle<EnvFilter, Registry>,
    level: String,
}

impl Logging {
    /// Starts logging, and sending spans to `traces`. On a terminal only warnings are shown at first: progress has the screen.
    pub(crate) fn start(config: &LogConfig, terminal: &Terminal, traces: Option<&Traces>) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let level = std::env::var(VARIABLE).unwrap_or_else(|_| config.level.clone());
        let first = if on_terminal { "warn" } else { level.as_str() };
        let (filter, handle) = reload::Layer::new(EnvFilter::new(first));
        let json = match config.format {
            LogFormat::Json => true,
            LogFormat::Text => false,
            LogFormat::Auto => !on_terminal,
        };
        // A log that nobody reads any more is no reason to fail, or to say so where nobody reads.
        let layer = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
        let layer = match json {
            true => layer.event_format(line::Json).boxed(),
            false => layer.event_format(line::Text(terminal.remark_paint())).boxed(),
        };
        // A second subscriber is refused, which leaves the first one at work.
        let _ =
            Registry::default().with(layer.with_filter(filter)).with(traces.map(Traces::layer)).try_init();
        Self { filter: handle, level }
    }

    /// Progress is over: log as configured.
    pub(crate) fn as_configured(&self) {
        let _ = self.filter.reload(EnvFilter::new(&self.level));
    }
}
