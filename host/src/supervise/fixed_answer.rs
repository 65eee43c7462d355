//! The fixed answers of a plugin's policy, encoded as the messages that its descriptors define.

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::FileDescriptorProto;

use crate::config::{JsonConfig, Policies};
use crate::instance::Description;
use crate::name::PluginName;
use crate::route::ServiceInfo;

/// Largest answer, encoded: it stands in a file that a person writes.
const MAX_ANSWER: usize = 1 << 20;

/// Why an answer cannot be given.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("the method streams")]
    Streams,
    #[error("the descriptors of the plugin are not complete in themselves: {0}")]
    Descriptors(String),
    #[error("it is no {message}: {problem}")]
    Message { message: String, problem: serde_json::Error },
    #[error("it has more than {MAX_ANSWER} bytes")]
    TooLarge,
}

impl Unfit {
    fn advice(&self) -> &'static str {
        match self {
            Self::Streams => "say it only for methods that do not stream, below policies",
            Self::Descriptors(_) => "name a descriptor_set in the manifest that has every import",
            Self::Message { .. } => "write the response message as JSON, as `plugmesh call` prints it",
            Self::TooLarge => "shorten it",
        }
    }
}

/// Whether the policy has any answer.
pub(super) fn has_answers(policies: &Policies) -> bool {
    let has_answer = |target: &crate::config::PolicyTarget| {
        policies.of(&target.service, target.method.as_deref(), None).fallback.answer.is_some()
    };
    policies.of_plugin().fallback.answer.is_some() || policies.targets().any(has_answer)
}

/// Adds the answers to what is known of the methods. One that is not fit is left out, and the log says why.
pub(super) fn fill_in(
    plugin: &PluginName,
    policies: &Policies,
    description: &Description,
    services: &mut [ServiceInfo],
) {
    if !has_answers(policies) {
        return;
    }
    let types = types(description);
    for service in services {
        for method in &mut service.methods {
            let policy = policies.of(&service.name, Some(&method.name), method.idempotency);
            let Some(answer) = policy.fallback.answer else { continue };
            let encoded = match (method.streams, &types) {
                (true, _) => Err(Unfit::Streams),
                (false, Err(problem)) => Err(Unfit::Descriptors(problem.clone())),
                (false, Ok(types)) => encode(types, &service.name, &method.name, &answer),
            };
            match encoded {
                Ok(encoded) => method.answer = Some(encoded),
                Err(unfit) => tracing::warn!(
                    %plugin, method = %format_args!("{}/{}", service.name, method.name),
                    "its fallback.answer is never given: {unfit}; {}", unfit.advice()
                ),
            }
        }
    }
}

/// Well-known types are added where the files leave them out, as those of some runtimes do.
fn types(description: &Description) -> Result<DescriptorPool, String> {
    let files = description.files.values().map(|file| FileDescriptorProto::decode(file.as_slice()));
    let mut files = files.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let known = DescriptorPool::global();
    let missing =
        known.file_descriptor_protos().filter(|known| !description.files.contains_key(known.name()));
    files.extend(missing.cloned());
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_protos(files).map_err(|error| error.to_string())?;
    Ok(pool)
}

fn encode(types: &DescriptorPool, service: &str, method: &str, answer: &JsonConfig) -> Result<Bytes, Unfit> {
    let service = types.get_service_by_name(service);
    let found = service.and_then(|service| service.methods().find(|found| found.name() == method));
    let found = found.ok_or_else(|| Unfit::Descriptors("the method is not among them".to_owned()))?;
    let message = found.output();
    let name = message.full_name().to_owned();
    let answer = DynamicMessage::deserialize(message, answer.value())
        .map_err(|problem| Unfit::Message { message: name, problem })?;
    match answer.encoded_len() {
        0..=MAX_ANSWER => Ok(answer.encode_to_vec().into()),
        _ => Err(Unfit::TooLarge),
    }
}

#[cfg(test)]
mod tests;
