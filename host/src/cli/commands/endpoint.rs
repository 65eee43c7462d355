//! `endpoint`: ready grpcurl commands.

use plugmesh::admin::v1::{GetPluginRequest, ListServicesRequest, Plugin, Service};

use crate::cli::address::HostAddress;
use crate::cli::args::{Global, NameArgs};
use crate::cli::connect::Host;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::shell::CommandLine;
use crate::cli::terminal::Terminal;

/// How grpcurl reaches an address.
#[derive(Debug)]
pub(crate) struct Grpcurl<'a> {
    address: &'a HostAddress,
    tls: Tls<'a>,
    metadata: Vec<String>,
}

/// Whose certificates stand in a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tls<'a> {
    /// Those of this command line; placeholders for what it does not name.
    Given(&'a Global),
    /// Not known here: a plugin's certificates are between it and the host.
    Unknown,
}

impl<'a> Grpcurl<'a> {
    /// Reaches `address`.
    pub(crate) fn new(address: &'a HostAddress, tls: Tls<'a>) -> Self {
        Self { address, tls, metadata: Vec::new() }
    }

    /// Chooses a plugin at a gateway.
    #[must_use]
    pub(crate) fn plugin(mut self, name: &str) -> Self {
        self.metadata.push(format!("{}: {name}", plugmesh::metadata::PLUGIN));
        self
    }

    /// Asks for the services.
    pub(crate) fn list(&self) -> CommandLine {
        self.to(self.flags(), "list")
    }

    /// Calls `method` with an empty message.
    pub(crate) fn call(&self, method: &str) -> CommandLine {
        self.to(self.flags().args(["-d", "{}"]), method)
    }

    fn flags(&self) -> CommandLine {
        let line = CommandLine::new("grpcurl");
        let line = match self.address {
            HostAddress::Unix(_) => line.args(["-plaintext", "-unix"]),
            HostAddress::Http(_) => line.arg("-plaintext"),
            HostAddress::Https(_) => {
                let file = |name: &str, given: fn(&Global) -> Option<&std::path::PathBuf>| match self.tls {
                    Tls::Given(global) => given(global).cloned().unwrap_or_else(|| name.into()),
                    Tls::Unknown => name.into(),
                };
                line.file("-cacert", &file("CA.pem", |global| global.ca.as_ref()))
                    .file("-cert", &file("CERT.pem", |global| global.cert.as_ref()))
                    .file("-key", &file("KEY.pem", |global| global.key.as_ref()))
            }
        };
        self.metadata.iter().fold(line, |line, header| line.args(["-H", header]))
    }

    fn to(&self, line: CommandLine, verb: &str) -> CommandLine {
        match self.address {
            HostAddress::Unix(path) => line.arg(&path.to_string_lossy()),
            HostAddress::Http(uri) | HostAddress::Https(uri) => {
                line.arg(uri.authority().map_or("", http::uri::Authority::as_str))
            }
        }
        .arg(verb)
    }
}

pub(super) async fn endpoint(
    host: &Host,
    args: &NameArgs,
    global: &Global,
    terminal: &mut Terminal,
) -> Result<Exit, CliError> {
    let answer = host.admin().get_plugin(GetPluginRequest { name: args.name.clone() }).await?.into_inner();
    let plugin = answer.plugin.ok_or(CliError::Incomplete("plugin"))?;
    let services = host.admin().list_services(ListServicesRequest {}).await?.into_inner().services;
    let address = host.address.absolute();
    let gateway = Grpcurl::new(&address, Tls::Given(global)).plugin(&plugin.name);
    let mut through = vec![gateway.list().to_string()];
    through.extend(first_method(&plugin, &services).map(|method| gateway.call(&method).to_string()));
    let direct: Vec<_> =
        plugin.instances.iter().map(|it| (it.name.as_str(), &it.address, directly(&it.address))).collect();

    if terminal.is_json() {
        let commands = direct.iter().filter_map(|(_, _, command)| command.clone()).chain(through.clone());
        let instances: Vec<_> = direct
            .iter()
            .map(|(name, address, command)| serde_json::json!({ "instance": name, "address": address, "command": command }))
            .collect();
        terminal.json(&serde_json::json!({
            "plugin": plugin.name,
            "instances": instances,
            "gateway": { "address": address.to_string(), "commands": through },
            "commands": commands.collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::OK);
    }
    for (name, address, command) in &direct {
        terminal.line(format_args!("# {name}, directly ({address})"))?;
        match command {
            Some(command) => terminal.line(command)?,
            None => terminal.line("# has no address of its own: call it through the gateway")?,
        }
    }
    terminal.line(format_args!("# through the gateway ({address})"))?;
    through.iter().try_for_each(|line| terminal.line(line))?;
    Ok(Exit::OK)
}

/// The command for an instance, when something outside the host can reach it.
fn directly(address: &str) -> Option<String> {
    let address: HostAddress = address.contains("://").then(|| address.parse().ok()).flatten()?;
    Some(Grpcurl::new(&address, Tls::Unknown).list().to_string())
}

/// A method that one empty message is enough for, of a service of the plugin.
fn first_method(plugin: &Plugin, services: &[Service]) -> Option<String> {
    let of_plugin = services.iter().filter(|service| plugin.services.contains(&service.name));
    of_plugin
        .flat_map(|service| service.methods.iter().map(move |method| (service, method)))
        .min_by_key(|(_, method)| (method.client_streaming, method.server_streaming))
        .map(|(service, method)| format!("{}/{}", service.name, method.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_in_the_host_itself_has_no_command() {
        assert_eq!(directly("in-process"), None);
        assert_eq!(directly(""), None);
    }

    #[test]
    fn the_flags_suit_the_address() {
        let lines = ["unix:///run/a b.sock", "http://127.0.0.1:50051", "https://10.0.0.1:443"].map(directly);
        assert_eq!(
            lines.map(Option::unwrap),
            [
                "grpcurl -plaintext -unix '/run/a b.sock' list",
                "grpcurl -plaintext 127.0.0.1:50051 list",
                "grpcurl -cacert CA.pem -cert CERT.pem -key KEY.pem 10.0.0.1:443 list",
            ]
        );
    }
}
