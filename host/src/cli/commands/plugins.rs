//! Showing plugins: `status`, `list`, `get` and `watch`.

use std::collections::HashMap;
use std::time::SystemTime;

use comfy_table::{Cell, Table};
use plugmesh::admin::v1::{
    ChangeKind, GetHostRequest, GetPluginRequest, Instance, InstanceState, ListPluginsRequest, Plugin,
    PluginState, WatchPluginsRequest,
};
use plugmesh::time::duration;

use super::health::{answers_in, health_cell, health_state, health_tone};
use crate::cli::args::{NameArgs, WatchArgs};
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::human::{self, first_line, lines, printable};
use crate::cli::json;
use crate::cli::terminal::{Paint, Terminal, Tone, cell, number, table, toned};

pub(super) async fn status(host: &Host, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let answer = host.admin().get_host(GetHostRequest {}).await?.into_inner();
    if terminal.is_json() {
        json::print("GetHostResponse", &answer, terminal)?;
        return Ok(Exit::OK);
    }
    let tone = if answer.ready_plugins == answer.plugins { Tone::Good } else { Tone::Notice };
    let ready = format!("{} of {} ready", answer.ready_plugins, answer.plugins);
    facts(
        terminal,
        [
            ("host", Tone::Plain, answer.name),
            ("version", Tone::Plain, answer.version),
            ("up for", Tone::Plain, human::age(answer.start_time, SystemTime::now())),
            ("process", Tone::Plain, answer.pid.to_string()),
            ("gateway", Tone::Plain, answer.addresses.join(", ")),
            ("plugins", tone, ready),
        ],
    )?;
    Ok(Exit::OK)
}

pub(super) async fn list(host: &Host, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let answer = host.admin().list_plugins(ListPluginsRequest {}).await?.into_inner();
    if terminal.is_json() {
        json::print("ListPluginsResponse", &answer, terminal)?;
    } else if answer.plugins.is_empty() {
        terminal.remark("no plugins; add one with `plugmesh load PATH`");
    } else {
        terminal.table(overview(&answer.plugins))?;
    }
    Ok(Exit::OK)
}

/// A line for each plugin.
pub(crate) fn overview(plugins: &[Plugin]) -> Table {
    // Most of the time there is nothing to explain, and then no column for it.
    let explained = plugins.iter().any(|plugin| !plugin.message.is_empty());
    let mut columns = vec!["NAME", "VERSION", "STATE", "INSTANCES", "SERVICES"];
    if explained {
        columns.push("WHY");
    }
    let mut shown = table(&columns);
    for plugin in plugins {
        let services = match plugin.services.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} +{}", rest.len()),
        };
        let mut row = vec![
            cell(&plugin.name),
            cell(&plugin.version),
            state_cell(plugin.state()),
            cell(of_wanted(plugin)),
            cell(services),
        ];
        if explained {
            row.push(cell(first_line(&plugin.message)));
        }
        shown.add_row(row);
    }
    shown
}

/// The state of a plugin, coloured.
pub(crate) fn state_cell(state: PluginState) -> Cell {
    toned(plugin_tone(state), plugin_state(state))
}

/// How many instances take calls, of those that should.
fn of_wanted(plugin: &Plugin) -> String {
    format!("{}/{}", plugin.ready_instances, plugin.wanted_instances)
}

fn plugin_state(state: PluginState) -> String {
    human::state(state.as_str_name(), "PLUGIN_STATE_")
}

fn plugin_tone(state: PluginState) -> Tone {
    match state {
        PluginState::Ready => Tone::Good,
        PluginState::Building | PluginState::Starting | PluginState::Degraded | PluginState::Draining => {
            Tone::Notice
        }
        PluginState::Unavailable | PluginState::Failed | PluginState::CrashLoop => Tone::Bad,
        PluginState::Idle | PluginState::Disabled | PluginState::Skipped => Tone::Faint,
        PluginState::Unspecified => Tone::Plain,
    }
}

pub(super) fn instance_state(state: InstanceState) -> Cell {
    let tone = match state {
        InstanceState::Ready => Tone::Good,
        InstanceState::Starting | InstanceState::Draining | InstanceState::Backoff => Tone::Notice,
        InstanceState::Unhealthy | InstanceState::CrashLoop => Tone::Bad,
        InstanceState::Warm | InstanceState::Stopped => Tone::Faint,
        InstanceState::Unspecified => Tone::Plain,
    };
    toned(tone, human::state(state.as_str_name(), "INSTANCE_STATE_"))
}

pub(super) async fn get(host: &Host, args: &NameArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let answer = host.admin().get_plugin(GetPluginRequest { name: args.name.clone() }).await?.into_inner();
    if terminal.is_json() {
        json::print("GetPluginResponse", &answer, terminal)?;
        return Ok(Exit::OK);
    }
    let plugin = answer.plugin.ok_or(CliError::Incomplete("plugin"))?;
    let mut labels: Vec<_> = plugin.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort_unstable();
    let requires: Vec<_> = plugin
        .requires
        .iter()
        .map(|needed| {
            let missing = if needed.satisfied { "" } else { " (missing)" };
            format!("{} {}{missing}", needed.plugin, needed.version_range).trim_end().to_owned()
        })
        .collect();
    let tier = match plugin.tier {
        0 => "plain gRPC".to_owned(),
        1 => "go-plugin".to_owned(),
        2 => "plugmesh".to_owned(),
        other => other.to_string(),
    };
    let scale = plugin.scale.map(|scale| {
        let warm = if scale.warm == 0 { String::new() } else { format!(", {} warm", scale.warm) };
        format!("{} to {}, {} in flight each{warm}", scale.min, scale.max, scale.target_in_flight)
    });
    let known = [
        ("name", Tone::Plain, plugin.name.clone()),
        ("version", Tone::Plain, plugin.version.clone()),
        ("description", Tone::Plain, plugin.description.clone()),
        ("author", Tone::Plain, plugin.author.clone()),
        ("labels", Tone::Plain, labels.join(", ")),
        ("state", plugin_tone(plugin.state()), plugin_state(plugin.state())),
        ("why", Tone::Plain, plugin.message.clone()),
        ("health", health_tone(plugin.health()), health_state(plugin.health())),
        ("ready", Tone::Plain, of_wanted(&plugin)),
        ("scales", Tone::Plain, scale.unwrap_or_default()),
        ("speaks", Tone::Plain, tier),
        ("services", Tone::Plain, plugin.services.join(", ")),
        ("requires", Tone::Plain, requires.join(", ")),
        ("manifest", Tone::Plain, plugin.manifest.clone()),
    ];
    facts(terminal, known)?;
    if !plugin.instances.is_empty() {
        terminal.line("")?;
        terminal.table(instances(&plugin.instances))?;
    }
    Ok(Exit::OK)
}

fn instances(all: &[Instance]) -> Table {
    let explained = all.iter().any(|instance| !instance.message.is_empty());
    let mut columns = vec![
        "INSTANCE",
        "STATE",
        "HEALTH",
        "ANSWERS IN",
        "READY FOR",
        "STARTED IN",
        "IN FLIGHT",
        "CALLS",
        "FAILED",
        "RESTARTS",
        "PID",
        "ADDRESS",
    ];
    if explained {
        columns.push("WHY");
    }
    let mut shown = table(&columns);
    let now = SystemTime::now();
    for instance in all {
        let started = instance.start_duration.and_then(duration).map(human::span);
        let pid = if instance.pid == 0 { String::new() } else { instance.pid.to_string() };
        let mut row = vec![
            cell(&instance.name),
            instance_state(instance.state()),
            health_cell(instance.health()),
            cell(answers_in(instance.health_response_duration)),
            cell(human::age(instance.ready_time, now)),
            cell(started.unwrap_or_default()),
            number(instance.in_flight),
            number(instance.calls),
            number(instance.failures),
            number(instance.restarts.into()),
            cell(pid),
            cell(&instance.address),
        ];
        if explained {
            row.push(cell(first_line(&instance.message)));
        }
        shown.add_row(row);
    }
    shown
}

/// Prints what is known as a line each, leaving out what is empty.
pub(crate) fn facts<const N: usize>(
    terminal: &mut Terminal,
    known: [(&str, Tone, String); N],
) -> Result<(), CliError> {
    let paint = terminal.paint();
    for (name, tone, value) in known {
        if !value.is_empty() {
            let name = paint.bold(format_args!("{:<12}", format!("{name}:")));
            terminal.line(format_args!("{name} {}", paint.tone(tone, lines(&value))))?;
        }
    }
    Ok(())
}

pub(super) async fn watch(host: &Host, args: &WatchArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let request = WatchPluginsRequest { name: args.name.clone().unwrap_or_default() };
    let mut changes = host.admin().watch_plugins(request).await?.into_inner();
    let printer = if terminal.is_json() { Some(json::Printer::of("WatchPluginsResponse")?) } else { None };
    let mut shown = HashMap::new();
    while let Some(change) = changes.message().await? {
        match (&printer, &change.plugin) {
            (Some(printer), _) => printer.print(&change, terminal)?,
            (None, Some(plugin)) => {
                // Much of what changes, such as process ids, is not on the line.
                let line = change_line(change.kind(), plugin, terminal.paint());
                if shown.get(&plugin.name) != Some(&line) {
                    let time = humantime::format_rfc3339_seconds(SystemTime::now());
                    terminal.line(format_args!("{}  {line}", terminal.paint().tone(Tone::Faint, time)))?;
                    shown.insert(plugin.name.clone(), line);
                }
            }
            (None, None) => {}
        }
    }
    // The host ends the stream only when it ends itself.
    terminal.remark("the host has ended the watch");
    Ok(Exit::OK)
}

/// What `watch` shows of a plugin, without the time.
fn change_line(kind: ChangeKind, plugin: &Plugin, paint: Paint) -> String {
    let name = printable(&plugin.name);
    let (tone, state) = match kind {
        ChangeKind::Removed => (Tone::Faint, "removed".to_owned()),
        ChangeKind::Existing | ChangeKind::Changed | ChangeKind::Unspecified => {
            (plugin_tone(plugin.state()), plugin_state(plugin.state()))
        }
    };
    let instances = match kind {
        ChangeKind::Removed => String::new(),
        _ => of_wanted(plugin),
    };
    // Pad before colouring: colour codes have a length too.
    let state = paint.tone(tone, format_args!("{:<12}", state));
    format!("{name:<20} {state} {instances:<5} {}", first_line(&plugin.message)).trim_end().to_owned()
}
