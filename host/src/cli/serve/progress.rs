//! What is shown while plugins start.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use plugmesh::admin::v1::{Instance, InstanceState, Plugin, PluginState};

use crate::cli::human::{self, lines, printable};
use crate::cli::terminal::{Terminal, Tone};

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// Where plugins are on their way to being ready: a line each that is redrawn on a terminal, plain lines
/// elsewhere.
///
/// Fed with every change of a plugin, as `WatchPlugins` tells them. Dropping it clears the spinners.
pub(crate) struct Progress<'a> {
    terminal: &'a mut Terminal,
    spinners: Option<MultiProgress>,
    plugins: BTreeMap<String, Row>,
}

struct Row {
    since: Instant,
    shown: (PluginState, String),
    spinner: Option<ProgressBar>,
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("plugins", &self.plugins.len()).finish_non_exhaustive()
    }
}

impl<'a> Progress<'a> {
    /// Shows progress on standard error; with spinners when that is a terminal.
    pub(crate) fn new(terminal: &'a mut Terminal) -> Self {
        let spinners = terminal.shows_progress().then(MultiProgress::new);
        Self { terminal, spinners, plugins: BTreeMap::new() }
    }

    /// Takes the present state of a plugin. A state that has been shown is not shown again.
    pub(crate) fn update(&mut self, plugin: &Plugin) {
        let state = state(plugin);
        let now = (state, plugin.message.clone());
        let row = self.plugins.entry(plugin.name.clone()).or_insert_with(|| Row {
            since: Instant::now(),
            shown: (PluginState::Unspecified, String::new()),
            spinner: None,
        });
        if row.shown == now {
            return;
        }
        let same_state = row.shown.0 == state;
        row.shown = now;
        let paint = self.terminal.remark_paint();
        let name = printable(&plugin.name);
        let why = lines(&plugin.message);
        let took = human::span(row.since.elapsed());
        let ended = match state {
            PluginState::Ready => Some((Tone::Good, "✓", format!("ready in {took}"))),
            PluginState::Degraded => {
                let why = if why.is_empty() { ready_of_all(plugin) } else { why.clone() };
                Some((Tone::Notice, "!", format!("degraded: {why}")))
            }
            PluginState::Skipped => Some((Tone::Faint, "-", format!("skipped: {why}"))),
            PluginState::Disabled => Some((Tone::Faint, "-", "disabled".to_owned())),
            PluginState::Idle => Some((Tone::Faint, "-", "idle".to_owned())),
            PluginState::Failed => Some((Tone::Bad, "✗", format!("failed: {why}"))),
            PluginState::Building
            | PluginState::Starting
            | PluginState::Unavailable
            | PluginState::CrashLoop
            | PluginState::Draining
            | PluginState::Unspecified => None,
        };
        if let Some((tone, mark, text)) = ended {
            let line = format!("{} {name}: {text}", paint.tone(tone, mark));
            if let Some(spinner) = row.spinner.take() {
                spinner.finish_and_clear();
            }
            match &self.spinners {
                // Above the spinners, where it stays.
                Some(spinners) => {
                    // A terminal that went away is no reason to stop.
                    let _ = spinners.println(line);
                }
                None => self.terminal.remark(line),
            }
            return;
        }
        let doing = human::state(state.as_str_name(), "PLUGIN_STATE_");
        match &self.spinners {
            Some(spinners) => {
                let spinner = row.spinner.get_or_insert_with(|| {
                    let style =
                        ProgressStyle::with_template("{spinner:.cyan} {prefix}: {wide_msg} {elapsed:.dim}");
                    let spinner = spinners.add(ProgressBar::new_spinner().with_prefix(name.clone()));
                    if let Ok(style) = style {
                        spinner.set_style(style);
                    }
                    spinner.enable_steady_tick(TURN);
                    spinner
                });
                let why = why.lines().next().unwrap_or_default();
                let text = if why.is_empty() { doing } else { format!("{doing}: {why}") };
                spinner.set_message(text);
            }
            // A build tells each line of its output; a log wants to know only that it goes on.
            None if same_state => {}
            None => self.terminal.remark(format_args!("  {name}: {doing}")),
        }
    }
}

/// The state of a plugin on its way: while some instances start for the first time, the others being ready is no
/// trouble yet.
fn state(plugin: &Plugin) -> PluginState {
    let starts = |instance: &Instance| instance.state() == InstanceState::Starting && instance.restarts == 0;
    match plugin.state() {
        PluginState::Degraded if plugin.instances.iter().any(starts) => PluginState::Starting,
        // Whether that counts as failed is decided when every instance has been tried.
        PluginState::Unavailable | PluginState::CrashLoop => PluginState::Starting,
        state => state,
    }
}

fn ready_of_all(plugin: &Plugin) -> String {
    let ready = plugin.instances.iter().filter(|instance| instance.state() == InstanceState::Ready).count();
    format!("{ready} of {} ready", human::count(plugin.instances.len(), "instance"))
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        for spinner in self.plugins.values_mut().filter_map(|row| row.spinner.take()) {
            spinner.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Format;
    use crate::cli::terminal::Captured;

    fn plugin(name: &str, state: PluginState, message: &str) -> Plugin {
        Plugin { name: name.into(), state: state.into(), message: message.into(), ..Plugin::default() }
    }

    #[test]
    fn a_log_gets_one_plain_line_for_each_step() {
        let (out, err) = (Captured::default(), Captured::default());
        let mut terminal = Terminal::to(out.clone(), err.clone(), Format::Table);
        let mut progress = Progress::new(&mut terminal);
        for (name, state, message) in [
            ("text", PluginState::Building, ""),
            ("text", PluginState::Building, "Compiling \u{1b}[2J 1 of 2"),
            ("text", PluginState::Building, "Compiling 2 of 2"),
            ("text", PluginState::Starting, ""),
            ("text", PluginState::Starting, ""),
            ("java", PluginState::Skipped, "java was not found"),
            ("text", PluginState::Ready, ""),
            ("bad", PluginState::Failed, "exit status 1\n\u{1b}[31m"),
        ] {
            progress.update(&plugin(name, state, message));
        }
        drop(progress);
        assert_eq!(out.text(), "");
        let text = err.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..3],
            ["  text: building", "  text: starting", "- java: skipped: java was not found"]
        );
        assert!(lines[3].starts_with("✓ text: ready in "), "{text}");
        assert_eq!(lines[4..], ["✗ bad: failed: exit status 1", "    \\u{1b}[31m"]);
    }
    #[test]
    fn an_instance_that_still_starts_is_no_trouble() {
        let instances = |second: InstanceState, restarts| {
            let instance = |state: InstanceState, restarts| Instance {
                state: state.into(),
                restarts,
                ..Instance::default()
            };
            vec![instance(InstanceState::Ready, 0), instance(second, restarts)]
        };
        let degraded = |second, restarts| Plugin {
            instances: instances(second, restarts),
            ..plugin("text", PluginState::Degraded, "")
        };
        let (out, err) = (Captured::default(), Captured::default());
        let mut terminal = Terminal::to(out, err.clone(), Format::Table);
        let mut progress = Progress::new(&mut terminal);
        progress.update(&degraded(InstanceState::Starting, 0));
        progress.update(&degraded(InstanceState::Backoff, 0));
        drop(progress);
        assert_eq!(err.text(), "  text: starting\n! text: degraded: 1 of 2 instances ready\n");
    }
}
