//! The first exchange with a plugin: who it is, checked before it is believed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plugmesh::event::v1::Declaration;
use plugmesh::plugin::v1::plugin_service_client::PluginServiceClient;
use plugmesh::plugin::v1::{
    Callback, ContractVersions, HandshakeRequest, HandshakeResponse, HostInfo, InstanceInfo, Limits,
    PluginMetadata, Session,
};
use plugmesh::{EVENT_CAPABILITY, MAX_HANDSHAKE_BYTES, PLUGIN_CONTRACT};
use semver::{Version, VersionReq};
use tonic::{Code, Status};

use super::capability;
use super::{is_control_service, is_service_name, words};
use crate::name::PluginName;
use crate::route::Endpoint;
use crate::transport::{CallError, StreamError};

/// Versions of the plugin contract that this host speaks.
const VERSIONS: [u32; 1] = [1];

/// Longest description, in bytes: a paragraph for people.
const MAX_DESCRIPTION: usize = 4 * 1024;

/// Labels at most; more is not for selection any more.
const MAX_LABELS: usize = 64;

/// Longest key or value of a label, author or SDK name, in bytes.
const MAX_LABEL: usize = 256;

/// Services, capabilities and dependencies at most, each.
const MAX_LIST: usize = 1024;

/// How much of the contract an instance speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// Any gRPC server.
    #[default]
    Plain,
    /// The plugmesh contract.
    Contract,
}

impl Tier {
    /// As `AdminService` numbers it.
    pub fn number(self) -> u32 {
        match self {
            Self::Plain => 0,
            Self::Contract => 2,
        }
    }
}

/// What the host says.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Who asks.
    pub host: HostInfo,
    /// The session to open.
    pub session: Session,
    /// Who the plugin is to the host.
    pub instance: InstanceInfo,
    /// How to call back.
    pub callback: Callback,
    /// Largest message in bytes.
    pub max_message: u64,
    /// Whether the host runs the lifecycle.
    pub managed: bool,
}

/// What a plugin says of itself, checked.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// How much of the contract it speaks.
    pub tier: Tier,
    /// Its version, when it speaks the contract.
    pub version: Option<Version>,
    /// For people.
    pub description: String,
    /// For people.
    pub author: String,
    /// What it was built with.
    pub sdk: String,
    /// For selection and display.
    pub labels: BTreeMap<String, String>,
    /// Services to route to it. Empty: not stated.
    pub services: Vec<String>,
    /// JSON Schema of its configuration. Empty: none.
    pub config_schema: Bytes,
    /// Plugins it needs.
    pub requires: Vec<Dependency>,
    /// Optional abilities.
    pub features: Vec<String>,
    /// What it takes part in of the events; none: nothing.
    pub events: Option<Declaration>,
}

/// A plugin that another one needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Which.
    pub plugin: PluginName,
    /// Versions that will do.
    pub range: VersionReq,
    /// Whether it can do without.
    pub optional: bool,
}

/// Why there is no handshake.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// No answer in time.
    #[error(
        "it accepts connections but did not answer the handshake within {0:?}; look at its log, or raise \
         start_timeout if it needs longer"
    )]
    Timeout(Duration),
    /// The connection or the stream ended without an answer.
    #[error("the handshake broke off: {0}")]
    Broken(String),
    /// The plugin answered with an error.
    #[error("it refused the handshake: {}", words(.0))]
    Refused(#[source] Arc<Status>),
    /// The answer breaks the contract.
    #[error("its handshake was refused: {0}")]
    Invalid(#[from] Refusal),
}

/// What in a handshake the host does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too large.
    #[error("the answer is larger than {MAX_HANDSHAKE_BYTES} bytes; keep large data out of it")]
    TooLarge,
    /// The chosen version was not offered, or none was chosen.
    #[error(
        "it chose {} of the contract {PLUGIN_CONTRACT}, and this host speaks {VERSIONS:?}; use a host or an SDK of a \
         release that both share",
        match .0 { Some(version) => format!("version {version}"), None => "no version".to_owned() }
    )]
    Version(Option<u32>),
    /// The plugin says it is another one.
    #[error("it calls itself {found:?}, and its manifest {expected:?}; make the two names equal")]
    Name {
        /// As in the manifest.
        expected: PluginName,
        /// As in the handshake.
        found: String,
    },
    /// The version is no SemVer version.
    #[error("its version {version:?} is not a SemVer version such as 1.2.3: {problem}")]
    PluginVersion {
        /// As in the handshake.
        version: String,
        /// What the parser said.
        problem: String,
    },
    /// It needs something that this host does not have.
    #[error(
        "it requires the capability {0:?}, which this host does not know; use a newer host, or a plugin without"
    )]
    Capability(String),
    /// Some field is larger than the contract allows.
    #[error("{what} is larger than the contract allows ({found} over {allowed}); shorten it")]
    Bound {
        /// Which field.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        allowed: usize,
    },
    /// What it says of a capability cannot be read.
    #[error("what it says of the capability {capability} makes no sense: {problem}")]
    Detail {
        /// Which.
        capability: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A name that is no service's.
    #[error("it names a service {0:?}; gRPC services are named package.Service")]
    Service(String),
    /// A dependency is malformed.
    #[error("its dependency {dependency:?} is malformed: {problem}; a range is written as ^1.2")]
    Dependency {
        /// As in the handshake.
        dependency: String,
        /// What is wrong.
        problem: String,
    },
}

/// Opens the session. A plugin without the contract answers UNIMPLEMENTED, and is [`Tier::Plain`].
///
/// # Errors
/// The plugin does not answer, refuses, or says what the contract does not allow.
pub async fn handshake(
    endpoint: &Arc<Endpoint>,
    hello: Hello,
    timeout: Duration,
) -> Result<Introduction, HandshakeError> {
    let expected = endpoint.name().plugin();
    let mut client = PluginServiceClient::new(endpoint.channel_with_limit(MAX_HANDSHAKE_BYTES as u64))
        .max_decoding_message_size(MAX_HANDSHAKE_BYTES);
    let answer = tokio::time::timeout(timeout, client.handshake(request(hello))).await;
    match answer.map_err(|_| HandshakeError::Timeout(timeout))? {
        Ok(response) => Ok(check(response.into_inner(), expected)?),
        Err(status) => match status.code() {
            Code::Unimplemented => Ok(Introduction::default()),
            Code::ResourceExhausted | Code::OutOfRange => Err(Refusal::TooLarge.into()),
            _ if is_transport(&status) => Err(HandshakeError::Broken(status.message().to_owned())),
            _ => Err(HandshakeError::Refused(Arc::new(status))),
        },
    }
}

/// Whether the status was made here, for want of one from the plugin.
pub(crate) fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status)
        .is_some_and(|source| source.is::<StreamError>() || source.is::<CallError>())
}

fn request(hello: Hello) -> HandshakeRequest {
    HandshakeRequest {
        contracts: vec![ContractVersions {
            contract: PLUGIN_CONTRACT.to_owned(),
            versions: VERSIONS.to_vec(),
        }],
        features: Vec::new(),
        host: Some(hello.host),
        session: Some(hello.session),
        instance: Some(hello.instance),
        callback: Some(hello.callback),
        limits: Some(Limits { max_message_bytes: hello.max_message }),
        managed: hello.managed,
        lease: None,
    }
}

fn check(response: HandshakeResponse, expected: &PluginName) -> Result<Introduction, Refusal> {
    let chosen = response.contracts.iter().find(|chosen| chosen.contract == PLUGIN_CONTRACT);
    let version = chosen.map(|chosen| chosen.version);
    if !version.is_some_and(|version| VERSIONS.contains(&version)) {
        return Err(Refusal::Version(version));
    }
    let unknown = response.capabilities.iter().find(|one| one.required && one.name != EVENT_CAPABILITY);
    if let Some(capability) = unknown {
        return Err(Refusal::Capability(shorten(&capability.name)));
    }
    let events = response.capabilities.iter().find(|capability| capability.name == EVENT_CAPABILITY);
    let metadata = response.metadata.unwrap_or_default();
    if metadata.name != expected.as_str() {
        return Err(Refusal::Name { expected: expected.clone(), found: shorten(&metadata.name) });
    }
    bounds(&metadata)?;
    bound("the list of services", response.services.len(), MAX_LIST)?;
    bound("the list of dependencies", response.dependencies.len(), MAX_LIST)?;
    if let Some(service) = response.services.iter().find(|service| !is_service_name(service)) {
        return Err(Refusal::Service(shorten(service)));
    }
    let version = Version::parse(&metadata.version).map_err(|problem| Refusal::PluginVersion {
        version: shorten(&metadata.version),
        problem: problem.to_string(),
    })?;
    Ok(Introduction {
        tier: Tier::Contract,
        version: Some(version),
        description: metadata.description,
        author: metadata.author,
        sdk: metadata.sdk,
        labels: metadata.labels.into_iter().collect(),
        services: response.services.into_iter().filter(|service| !is_control_service(service)).collect(),
        config_schema: response.config_schema_json.into(),
        requires: response.dependencies.into_iter().map(dependency).collect::<Result<_, _>>()?,
        features: response.features,
        events: events.map(|capability| capability::events(&capability.detail_json)).transpose()?,
    })
}

fn bounds(metadata: &PluginMetadata) -> Result<(), Refusal> {
    bound("the description", metadata.description.len(), MAX_DESCRIPTION)?;
    bound("the author", metadata.author.len(), MAX_LABEL)?;
    bound("the name of its SDK", metadata.sdk.len(), MAX_LABEL)?;
    bound("the list of labels", metadata.labels.len(), MAX_LABELS)?;
    let longest = metadata.labels.iter().map(|(key, value)| key.len().max(value.len())).max();
    bound("a label", longest.unwrap_or(0), MAX_LABEL)
}

fn bound(what: &'static str, found: usize, allowed: usize) -> Result<(), Refusal> {
    if found > allowed { Err(Refusal::Bound { what, found, allowed }) } else { Ok(()) }
}

fn dependency(dependency: plugmesh::plugin::v1::Dependency) -> Result<Dependency, Refusal> {
    let malformed =
        |problem: String| Refusal::Dependency { dependency: shorten(&dependency.plugin), problem };
    let plugin = dependency.plugin.parse().map_err(|e: crate::name::InvalidName| malformed(e.to_string()))?;
    let range = match dependency.version_range.trim() {
        "" => VersionReq::STAR,
        range => VersionReq::parse(range).map_err(|e| malformed(e.to_string()))?,
    };
    Ok(Dependency { plugin, range, optional: dependency.optional })
}

fn shorten(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use plugmesh::plugin::v1::{Capability, ContractVersion};

    use super::*;

    fn name() -> PluginName {
        "calculator".parse().unwrap()
    }

    fn good() -> HandshakeResponse {
        HandshakeResponse {
            contracts: vec![ContractVersion { contract: PLUGIN_CONTRACT.into(), version: 1 }],
            metadata: Some(PluginMetadata {
                name: "calculator".into(),
                version: "1.2.3".into(),
                ..Default::default()
            }),
            services: vec!["calculator.v1.CalculatorService".into(), "grpc.health.v1.Health".into()],
            ..Default::default()
        }
    }

    #[test]
    fn takes_a_good_answer_without_its_control_services() {
        let introduction = check(good(), &name()).unwrap();
        assert_eq!(introduction.tier, Tier::Contract);
        assert_eq!(introduction.services, ["calculator.v1.CalculatorService"]);
        assert_eq!(introduction.version, Some(Version::new(1, 2, 3)));
    }

    #[test]
    fn refuses_what_breaks_the_contract() {
        type Spoil = fn(&mut HandshakeResponse);
        let cases: [(&str, Spoil); 10] = [
            ("names a service \"not a service\\n\"", |r| r.services.push("not a service\n".into())),
            ("names a service \"\"", |r| r.services.push(String::new())),
            ("chose version 7", |r| r.contracts[0].version = 7),
            ("chose no version", |r| r.contracts.clear()),
            ("calls itself \"other\"", |r| r.metadata.as_mut().unwrap().name = "other".into()),
            ("not a SemVer", |r| r.metadata.as_mut().unwrap().version = "one".into()),
            ("requires the capability \"teleport\"", |r| {
                r.capabilities.push(Capability {
                    name: "teleport".into(),
                    required: true,
                    detail_json: vec![],
                });
            }),
            ("the description is larger", |r| {
                r.metadata.as_mut().unwrap().description = "x".repeat(MAX_DESCRIPTION + 1);
            }),
            ("a label is larger", |r| {
                r.metadata.as_mut().unwrap().labels.insert("k".into(), "v".repeat(MAX_LABEL + 1));
            }),
            ("dependency \"text\" is malformed", |r| {
                r.dependencies.push(plugmesh::plugin::v1::Dependency {
                    plugin: "text".into(),
                    version_range: "newest".into(),
                    optional: false,
                });
            }),
        ];
        for (words, spoil) in cases {
            let mut response = good();
            spoil(&mut response);
            let refusal = check(response, &name()).unwrap_err().to_string();
            assert!(refusal.contains(words), "{words}: {refusal}");
        }
    }

    #[test]
    fn an_unknown_capability_that_is_optional_is_ignored() {
        let mut response = good();
        response.capabilities.push(Capability {
            name: "teleport".into(),
            required: false,
            detail_json: vec![],
        });
        assert!(check(response, &name()).is_ok());
    }

    #[test]
    fn codes_are_named_as_in_the_specification() {}
}
