//! Changing what runs: `load`, `unload`, `reload`, `enable`, `disable`, `attach`, `drain`, `shutdown`.

use std::time::Duration;

use plugmesh::admin::v1::{
    AttachPluginRequest, DisablePluginRequest, DrainPluginRequest, EnablePluginRequest, LoadPluginRequest,
    Plugin, ReloadPluginRequest, ShutdownRequest, UnloadPluginRequest,
};
use prost::Message;

use super::plugins::overview;
use crate::cli::args::{AttachArgs, DrainArgs, LoadArgs, NameArgs, ShutdownArgs};
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::{count, printable};
use crate::cli::terminal::Terminal;
use crate::cli::{json, lock};

pub(super) async fn load(host: &Host, args: &LoadArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    // The host has its own working directory.
    let path = std::path::absolute(&args.path).unwrap_or_else(|_| args.path.clone());
    let request = LoadPluginRequest { manifest: path.to_string_lossy().into_owned() };
    let answer = host.admin().load_plugin(request).await?.into_inner();
    show("LoadPluginResponse", &answer, answer.plugin.as_ref(), terminal)
}

pub(super) async fn unload(host: &Host, args: &NameArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let answer = host.admin().unload_plugin(UnloadPluginRequest { name: args.name.clone() }).await?;
    done("UnloadPluginResponse", answer.get_ref(), &format!("unloaded {}", args.name), terminal)
}

pub(super) async fn reload(host: &Host, args: &NameArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let request = ReloadPluginRequest { name: args.name.clone() };
    let answer = host.admin().reload_plugin(request).await?.into_inner();
    show("ReloadPluginResponse", &answer, answer.plugin.as_ref(), terminal)
}

pub(super) async fn enable(host: &Host, args: &NameArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let request = EnablePluginRequest { name: args.name.clone() };
    let answer = host.admin().enable_plugin(request).await?.into_inner();
    show("EnablePluginResponse", &answer, answer.plugin.as_ref(), terminal)
}

pub(super) async fn disable(host: &Host, args: &NameArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let request = DisablePluginRequest { name: args.name.clone() };
    let answer = host.admin().disable_plugin(request).await?.into_inner();
    show("DisablePluginResponse", &answer, answer.plugin.as_ref(), terminal)
}

pub(super) async fn attach(
    host: &Host,
    args: &AttachArgs,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let address = args.address.absolute().to_string();
    let request = AttachPluginRequest { name: args.name.clone(), address };
    let answer = host.admin().attach_plugin(request).await?.into_inner();
    show("AttachPluginResponse", &answer, answer.plugin.as_ref(), terminal)
}

pub(super) async fn drain(host: &Host, args: &DrainArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let request = DrainPluginRequest {
        name: args.name.clone(),
        instance: args.instance.clone().unwrap_or_default(),
        grace: args.grace.map(duration),
    };
    let answer = host.admin().drain_plugin(request).await?.into_inner();
    let what = args.instance.as_ref().unwrap_or(&args.name);
    let left = usize::try_from(answer.in_flight).unwrap_or(usize::MAX);
    if left == 0 {
        let text = format!("drained {what}; `plugmesh reload {}` brings it back", args.name);
        return done("DrainPluginResponse", &answer, &text, terminal);
    }
    let text = format!("{what} still has {} in flight, and takes no new ones", count(left, "call"));
    done("DrainPluginResponse", &answer, &text, terminal)?;
    Ok(Exit::FAILURE)
}

pub(super) async fn shutdown(
    host: &Host,
    args: &ShutdownArgs,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let answer =
        host.admin().shutdown(ShutdownRequest { grace: args.grace.map(duration) }).await?.into_inner();
    let waits_for = host.address.socket().filter(|_| !args.no_wait);
    let Some(socket) = waits_for else {
        return done("ShutdownResponse", &answer, "the host is shutting down", terminal);
    };
    // The lock is given up when the process is gone, which a closed connection would not prove.
    match lock::released(socket).await {
        Ok(()) => done("ShutdownResponse", &answer, "the host has shut down", terminal),
        Err(_) => done("ShutdownResponse", &answer, "the host is shutting down", terminal),
    }
}

fn show(
    name: &'static str,
    answer: &impl Message,
    plugin: Option<&Plugin>,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    if terminal.is_json() {
        json::print(name, answer, terminal)?;
    } else {
        let plugin = plugin.ok_or(CliError::Incomplete("plugin"))?;
        terminal.table(overview(std::slice::from_ref(plugin)))?;
    }
    Ok(Exit::OK)
}

fn done(
    name: &'static str,
    answer: &impl Message,
    text: &str,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    if terminal.is_json() {
        json::print(name, answer, terminal)?;
    } else {
        terminal.line(printable(text))?;
    }
    Ok(Exit::OK)
}

/// The longest time that protobuf knows is 10 000 years: longer is as good as that.
fn duration(time: Duration) -> prost_types::Duration {
    const LONGEST: prost_types::Duration = prost_types::Duration { seconds: 315_576_000_000, nanos: 0 };
    prost_types::Duration::try_from(time)
        .ok()
        .filter(|time| time.seconds <= LONGEST.seconds)
        .unwrap_or(LONGEST)
}
