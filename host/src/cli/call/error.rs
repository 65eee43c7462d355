//! Why a call failed.

use std::io;
use std::path::PathBuf;

use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};
use tonic::{Code, Status};

use super::details::{self, Detail};
use super::reflect::Reflection;
use crate::cli::args::CallArgs;
use crate::cli::exit::Exit;
use crate::cli::shell::quote;
use crate::code::code_name;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{0:?} is no method: say SERVICE/METHOD")]
    Target(String),
    #[error("{text:?} cannot be sent as metadata: {reason}")]
    Header { text: String, reason: &'static str },
    #[error("no service {service} at {address}{}", did_you_mean(.suggestion))]
    UnknownService { service: String, address: String, suggestion: Option<String> },
    #[error("{service} is the end of several services: {}", .matches.join(", "))]
    Ambiguous { service: String, matches: Vec<String> },
    #[error("service {service} has no method {method}{}", did_you_mean(.suggestion))]
    UnknownMethod { service: String, method: String, known: Vec<String>, suggestion: Option<String> },
    #[error("cannot ask {address} what can be called: {} ({}): {}", code_name(.status.code()), .status.code() as i32, .status.message())]
    Reflection { address: String, status: Box<Status> },
    #[error("cannot learn what {what} looks like: {reason}")]
    Descriptors { what: String, reason: String },
    #[error("cannot read {path}")]
    Input { path: PathBuf, source: io::Error },
    #[error("message {number} is not JSON")]
    Json { number: usize, source: serde_json::Error },
    #[error("message {number} is no {}", .message.full_name())]
    Field { number: usize, source: serde_json::Error, message: MessageDescriptor },
    #[error("message {number} has {size} bytes, and --max-message-size is {limit}")]
    TooLarge { number: usize, size: usize, limit: usize },
    #[error("{method} takes one message, and {} given", if *.empty { "none was" } else { "more than one was" })]
    NotOneMessage { method: String, empty: bool },
    #[error("{} ({}): {}", code_name(.status.code()), .status.code() as i32, .status.message())]
    Refused { status: Box<Status>, details: Vec<Detail>, help: Option<String> },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

impl CallError {
    /// The call ended with a status.
    pub(super) async fn refused(
        status: Status,
        method: &MethodDescriptor,
        args: &CallArgs,
        reflection: &mut Reflection,
    ) -> Self {
        let details = details::of(&status, method.parent_pool(), reflection).await;
        let help = next_step(&status, method, args);
        Self::Refused { status: Box::new(status), details, help }
    }

    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Target(_) | Self::Header { .. } => Exit::USAGE,
            Self::Refused { status, .. } | Self::Reflection { status, .. } => {
                Exit::from_status(status.code())
            }
            Self::UnknownService { .. } | Self::UnknownMethod { .. } => {
                Exit::from_status(Code::Unimplemented)
            }
            Self::Ambiguous { .. }
            | Self::Descriptors { .. }
            | Self::Input { .. }
            | Self::Json { .. }
            | Self::Field { .. }
            | Self::TooLarge { .. }
            | Self::NotOneMessage { .. } => Exit::FAILURE,
        }
    }

    /// The status, when there is one.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } | Self::Reflection { status, .. } => Some(status),
            _ => None,
        }
    }

    /// What came with the status, a line each.
    pub(crate) fn notes(&self) -> Vec<String> {
        match self {
            Self::Refused { details, .. } => details
                .iter()
                .map(|detail| format!("detail {}: {}", detail.type_name, detail.value))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// What came with the status, in the JSON form of `google.protobuf.Any`.
    pub(crate) fn details(&self) -> Vec<serde_json::Value> {
        let Self::Refused { details, .. } = self else { return Vec::new() };
        let typed = |detail: &Detail| match detail.value.clone() {
            serde_json::Value::Object(mut object) => {
                object.insert("@type".to_owned(), detail.type_name.clone().into());
                serde_json::Value::Object(object)
            }
            other => serde_json::json!({ "@type": detail.type_name, "value": other }),
        };
        details.iter().map(typed).collect()
    }

    /// What to do next, when there is something to say.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Target(_) => Some("`plugmesh services --methods` lists what can be called".to_owned()),
            Self::UnknownService { .. } => Some("`plugmesh services` lists what can be called".to_owned()),
            Self::Ambiguous { .. } => Some("say it with its package".to_owned()),
            Self::UnknownMethod { service, known, .. } => {
                Some(format!("{service} has: {}", known.join(", ")))
            }
            Self::Reflection { status, .. } if status.code() == Code::Unimplemented => {
                Some("give the plugin reflection, or its manifest a `descriptor_set`".to_owned())
            }
            Self::Json { .. } => {
                Some("`plugmesh call SERVICE/METHOD --example` prints what a request looks like".to_owned())
            }
            Self::Field { message, .. } => Some(fields(message)),
            Self::NotOneMessage { empty: true, .. } => Some("say '{}' for an empty message".to_owned()),
            Self::Refused { help, .. } => help.clone(),
            _ => None,
        }
    }
}

fn fields(message: &MessageDescriptor) -> String {
    let fields: Vec<_> = message
        .fields()
        .map(|field| {
            let kind = match field.kind() {
                Kind::Message(inner) => inner.full_name().to_owned(),
                Kind::Enum(inner) => inner.full_name().to_owned(),
                scalar => format!("{scalar:?}"),
            };
            let list = if field.is_list() { "repeated " } else { "" };
            format!("{} ({list}{kind})", field.json_name())
        })
        .collect();
    match fields.as_slice() {
        [] => format!("{} has no fields: send '{{}}'", message.full_name()),
        some => format!("{} has: {}", message.full_name(), some.join(", ")),
    }
}

/// What somebody at a terminal would try next.
fn next_step(status: &Status, method: &MethodDescriptor, args: &CallArgs) -> Option<String> {
    let service = method.parent_service().full_name().to_owned();
    let target = format!("{service}/{}", method.name());
    let about_size = || status.message().contains("length") || status.message().contains("max-message");
    match status.code() {
        Code::InvalidArgument => {
            Some(format!("`plugmesh call {target} --example` prints what a request looks like"))
        }
        Code::Unavailable => Some(match &args.plugin {
            Some(plugin) => {
                format!("`plugmesh get {0}` and `plugmesh logs {0}` say how it is doing", quote(plugin))
            }
            None => format!("`plugmesh explain {service}` says how its instances are doing"),
        }),
        Code::DeadlineExceeded if args.deadline.is_some() => Some(
            "give it more time with --deadline, or see `plugmesh logs NAME` for what it is doing".to_owned(),
        ),
        Code::FailedPrecondition if args.plugin.is_none() => {
            Some(format!("when several plugins provide {service}, choose with --plugin NAME"))
        }
        Code::Unimplemented => Some(format!("`plugmesh explain {target}` says who provides it")),
        Code::OutOfRange | Code::ResourceExhausted if about_size() => Some(format!(
            "--max-message-size is {} bytes here; the host's own limit is `max_message_size`",
            args.max_message_size
        )),
        Code::Internal | Code::Unknown => Some("`plugmesh logs NAME` shows what the plugin wrote".to_owned()),
        _ => None,
    }
}
