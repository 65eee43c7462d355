//! What is shown when the plugins have started: what is running, and what a person does next.

use plugmesh::admin::v1::{Plugin, PluginState, Service};

use crate::cli::address::HostAddress;
use crate::cli::commands::{Grpcurl, Tls, overview};
use crate::cli::error::CliError;
use crate::cli::human::count;
use crate::cli::shell::CommandLine;
use crate::cli::terminal::{Terminal, Tone};

/// A host whose plugins have started, as far as they will.
#[derive(Debug)]
pub(crate) struct Ready<'a> {
    /// What to type to run this program.
    pub(crate) program: &'a str,
    /// Where the gateway listens.
    pub(crate) gateway: &'a HostAddress,
    /// Whether that is where every command looks without being told.
    pub(crate) is_default: bool,
    /// Every plugin.
    pub(crate) plugins: &'a [Plugin],
    /// Every service.
    pub(crate) services: &'a [Service],
    /// A call that is worth showing, when one is known.
    pub(crate) example: Option<Example<'a>>,
}

/// A call that works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example<'a> {
    /// `service/method`.
    pub(crate) method: &'a str,
    /// The request as JSON.
    pub(crate) request: &'a str,
}

impl Ready<'_> {
    /// Prints it.
    pub(crate) fn print(&self, terminal: &mut Terminal) -> Result<(), CliError> {
        let paint = terminal.paint();
        let ready = self.plugins.iter().filter(|plugin| plugin.state() == PluginState::Ready).count();
        if self.plugins.is_empty() {
            terminal.line("no plugins were found")?;
        } else {
            terminal.table(overview(self.plugins))?;
        }
        let tone = if ready == self.plugins.len() { Tone::Good } else { Tone::Notice };
        let summary = format!("{ready} of {} ready", count(self.plugins.len(), "plugin"));
        terminal.line("")?;
        terminal.line(format_args!("{} · gateway at {}", paint.tone(tone, summary), self.gateway))?;
        terminal.line("")?;
        terminal.line(paint.bold("In another terminal:"))?;
        let next = self.next();
        let width = next.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
        for (command, what) in next {
            let remark = paint.tone(Tone::Faint, format_args!("# {what}"));
            terminal.line(format_args!("  {command:<width$}  {remark}"))?;
        }
        terminal.line("")?;
        terminal.line(paint.tone(Tone::Faint, "Ctrl-C drains the plugins and ends the host."))
    }

    /// What a person does next: commands that work as they are.
    fn next(&self) -> Vec<(String, &'static str)> {
        let plugmesh = |words: &[&str]| {
            let line = CommandLine::new(self.program).args(words.iter().copied());
            if self.is_default { line } else { line.args(["--host", &self.gateway.to_string()]) }.to_string()
        };
        let mut next = vec![(plugmesh(&["list"]), "what is running")];
        if let Some((method, request)) = self.example() {
            next.push((plugmesh(&["call", &method, "-d", &request]), "a call by JSON"));
        }
        next.push((Grpcurl::new(self.gateway, Tls::Unknown).list().to_string(), "any gRPC client works"));
        for plugin in self.plugins {
            let direct = plugin.instances.iter().find_map(|instance| {
                let address: HostAddress = instance.address.parse().ok()?;
                address.socket()?.is_absolute().then_some(address)
            });
            if let Some(address) = direct {
                next.push((Grpcurl::new(&address, Tls::Unknown).list().to_string(), "a plugin, directly"));
                break;
            }
        }
        let failed = self.plugins.iter().find(|plugin| matches!(plugin.state(), PluginState::Failed));
        if let Some(plugin) = failed {
            next.push((plugmesh(&["get", &plugin.name]), "why it failed"));
        }
        next
    }

    /// The given example, or the first method that takes one message.
    fn example(&self) -> Option<(String, String)> {
        if let Some(Example { method, request }) = self.example {
            return Some((method.to_owned(), request.to_owned()));
        }
        let mut methods =
            self.services.iter().flat_map(|service| service.methods.iter().map(move |it| (service, it)));
        let (service, method) = methods.find(|(_, method)| !method.client_streaming)?;
        Some((format!("{}/{}", service.name, method.name), "{}".to_owned()))
    }
}

#[cfg(test)]
mod tests;
