//! `serve`: the terminal side of a host.
//!
//! What is printed while plugins start is in `progress`, what is printed when they have started in
//! `summary`. Both are fed with the messages of `AdminService`, so that they need nothing of the host.

mod daemon;
mod example;
mod logging;
mod progress;
mod summary;

use std::path::PathBuf;

use plugmesh::admin::v1::{Plugin, Service};

use super::address::HostAddress;
use super::args::{Global, ServeArgs};
use super::error::CliError;
use super::exit::Exit;
use super::place;
use super::shell::own_name;
use super::terminal::Terminal;
use crate::config::{Config, ConfigError};
use crate::launch::guardian;

use self::summary::{Example, Ready};

/// What to serve, with everything checked that can be before a host exists.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Directories to search for manifests.
    pub(crate) dirs: Vec<PathBuf>,
    /// Configuration of the host.
    pub(crate) config: Config,
    /// Socket of the gateway.
    pub(crate) gateway: PathBuf,
}

/// Why a host was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("nothing to serve")]
    Nothing,
    #[error("{0} is no directory")]
    NotADirectory(PathBuf),
    #[error("{0} is no file")]
    NoConfig(PathBuf),
    #[error("the gateway of `serve` is a Unix socket, and {0} is none")]
    NotASocket(HostAddress),
    #[error("{0}")]
    Config(ConfigError),
    #[error("cannot tell which program this is: {0}")]
    OwnPath(std::io::Error),
    #[error(transparent)]
    Guardian(#[from] guardian::GuardianError),
    #[error("cannot hold on to the guardian: {0}")]
    Ward(std::io::Error),
    #[error(transparent)]
    Host(#[from] crate::HostError),
}

impl ServeError {
    /// What to do next.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Nothing => {
                Some("name a directory with plugins, as in `plugmesh serve plugins`, or a --config".into())
            }
            Self::NotADirectory(_) => Some("a single manifest is started with `plugmesh load PATH`".into()),
            Self::NotASocket(_) => {
                Some("TCP listeners are configured under `gateway:` in plugmesh.yaml".into())
            }
            Self::NoConfig(_)
            | Self::Config(_)
            | Self::OwnPath(_)
            | Self::Guardian(_)
            | Self::Ward(_)
            | Self::Host(_) => None,
        }
    }
}

/// A host whose plugins have started, as far as they will.
#[derive(Debug, Default)]
pub(crate) struct Started {
    /// Every plugin.
    pub(crate) plugins: Vec<Plugin>,
    /// Every service.
    pub(crate) services: Vec<Service>,
    /// Path and JSON request of a call that is worth showing; one is made up of `services` without it.
    pub(crate) example: Option<(String, String)>,
}

/// Starts a host and its plugins, and returns when the host has ended.
///
/// The process that was started is a guardian: it starts itself once more as the daemon, and stays to kill
/// whatever the daemon leaves behind, should that be killed.
///
/// # Errors
///
/// What is wrong with the command line, another host that holds the socket, or why the host ended.
pub(crate) fn run(args: &ServeArgs, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let plan = Plan::new(args, global)?;
    match std::env::var_os(guardian::MARKER) {
        Some(marker) => daemon::run(plan, &marker, terminal),
        None => {
            let program = std::env::current_exe().map_err(ServeError::OwnPath)?;
            let code = guardian::run(&program, std::env::args_os().skip(1), std::env::vars_os());
            Ok(Exit::from_code(code.map_err(ServeError::from)?))
        }
    }
}

fn show(plan: &Plan, started: &Started, terminal: &mut Terminal) -> Result<(), CliError> {
    let gateway = HostAddress::Unix(plan.gateway.clone());
    let ready = Ready {
        is_default: place::default_address().is_ok_and(|default| default == gateway),
        program: &own_name(),
        gateway: &gateway,
        plugins: &started.plugins,
        services: &started.services,
        example: started.example.as_ref().map(|(method, request)| Example { method, request }),
    };
    ready.print(terminal)
}

impl Plan {
    fn new(args: &ServeArgs, global: &Global) -> Result<Self, CliError> {
        if args.dirs.is_empty() && args.config.is_none() {
            return Err(ServeError::Nothing.into());
        }
        if let Some(dir) = args.dirs.iter().find(|dir| !dir.is_dir()) {
            return Err(ServeError::NotADirectory(dir.clone()).into());
        }
        if let Some(config) = args.config.as_ref().filter(|config| !config.is_file()) {
            return Err(ServeError::NoConfig(config.clone()).into());
        }
        let config = match crate::config::file_of(args.config.as_deref(), &args.dirs) {
            Some(file) => Config::load(&file).map_err(ServeError::Config)?,
            None => Config::default(),
        };
        // `--host` says where the other commands look, so it says where to be found, too.
        let gateway = match args.gateway.as_ref().or(global.host.as_ref()) {
            Some(HostAddress::Unix(path)) => std::path::absolute(path)
                .map_err(|source| place::PlaceError::Io { path: path.clone(), source })?,
            Some(other) => return Err(ServeError::NotASocket(other.clone()).into()),
            None if config.gateway.unix.is_some() => config.gateway.unix.clone().unwrap_or_default(),
            None => {
                place::prepare(&place::default_directory())?;
                match place::default_address()? {
                    HostAddress::Unix(path) => path,
                    other => return Err(ServeError::NotASocket(other).into()),
                }
            }
        };
        let mut config = config;
        config.gateway.unix = Some(gateway.clone());
        config.telemetry = config.telemetry.with_environment(|name| std::env::var(name).ok());
        Ok(Self { dirs: args.dirs.clone(), config, gateway })
    }
}
