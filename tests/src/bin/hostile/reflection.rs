//! Server reflection, in both versions: their messages are the same bytes.

use std::future::pending;

use bytes::Bytes;
use h2::SendStream;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto,
};
use tonic::Code;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse,
    ServiceResponse,
};

use super::server::{Answer, Incoming, end, frame};
use super::{Mode, service};

pub(super) async fn answer(incoming: &mut Incoming, answer: Answer, mode: Mode) {
    match mode {
        "reflection-hangs" => pending().await,
        "reflection-absent" => return answer.status(Code::Unimplemented, b""),
        _ => {}
    }
    let mut body = answer.begin().await;
    while let Some(ServerReflectionRequest { message_request: Some(request), .. }) = incoming.next().await {
        let response = match request {
            MessageRequest::ListServices(_) => list(mode),
            MessageRequest::FileByFilename(name) => files(file(&name, mode), mode),
            _ => files(file("hostile.proto", mode), mode),
        };
        let response = ServerReflectionResponse { message_response: Some(response), ..Default::default() };
        send(&mut body, frame(&response)).await;
        if mode == "reflection-endless" {
            loop {
                send(&mut body, frame(&response)).await;
            }
        }
    }
    end(body, Code::Ok, b"");
}

async fn send(body: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        body.reserve_capacity(data.len());
        match std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
            Some(Ok(capacity)) => drop(body.send_data(data.split_to(capacity.min(data.len())), false)),
            _ => return pending().await,
        }
    }
}

fn list(mode: Mode) -> MessageResponse {
    let mut names = vec![service::NAME.to_owned()];
    match mode {
        "reflection-many-services" => names = (0..5000).map(|i| format!("many.v1.Service{i}")).collect(),
        "reflection-no-services" => names = vec!["grpc.health.v1.Health".into()],
        _ => {}
    }
    let service = names.into_iter().map(|name| ServiceResponse { name }).collect();
    MessageResponse::ListServicesResponse(ListServiceResponse { service })
}

fn files(file: FileDescriptorProto, mode: Mode) -> MessageResponse {
    let file = match mode {
        "reflection-garbage" => b"\xff\xfe this is no descriptor".to_vec(),
        _ => file.encode_to_vec(),
    };
    MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto: vec![file] })
}

fn file(name: &str, mode: Mode) -> FileDescriptorProto {
    match mode {
        // Each file imports the other.
        "reflection-cyclic" => {
            let other = if name == "hostile.proto" { "other.proto" } else { "hostile.proto" };
            FileDescriptorProto { dependency: vec![other.to_owned()], ..good(name) }
        }
        // Each file imports one more, for ever; large, so that a limit on size comes before one on time.
        "reflection-bottomless" => FileDescriptorProto {
            dependency: vec![format!("deeper/{name}")],
            message_type: vec![message(&"M".repeat(200_000))],
            ..good(name)
        },
        "reflection-giant" => FileDescriptorProto {
            // 100 MB.
            message_type: (0..1000).map(|i| message(&format!("{}{i}", "M".repeat(100_000)))).collect(),
            ..good(name)
        },
        "reflection-dangling" => {
            let mut file = good(name);
            file.service[0].method[0].input_type = Some(".no.such.Message".into());
            file
        }
        _ => good(name),
    }
}

fn message(name: &str) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field: vec![FieldDescriptorProto {
            name: Some("text".into()),
            number: Some(1),
            label: Some(Label::Optional.into()),
            r#type: Some(Type::String.into()),
            json_name: Some("text".into()),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn good(name: &str) -> FileDescriptorProto {
    let mut file = FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some("hostile.v1".into()),
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    if name == "hostile.proto" {
        let method = |name: &&str| MethodDescriptorProto {
            name: Some((*name).to_owned()),
            input_type: Some(".hostile.v1.Message".into()),
            output_type: Some(".hostile.v1.Message".into()),
            server_streaming: Some(service::STREAMS.contains(name)),
            ..Default::default()
        };
        file.message_type.push(message("Message"));
        file.service.push(ServiceDescriptorProto {
            name: Some("HostileService".into()),
            method: service::METHODS.iter().chain(service::STREAMS).map(method).collect(),
            options: None,
        });
    }
    file
}
