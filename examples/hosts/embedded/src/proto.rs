//! Generated clients and servers, one module a package.
#![allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, rustdoc::all)]

pub mod calculator {
    tonic::include_proto!("calculator.v1");
}

pub mod notes {
    tonic::include_proto!("notes.v1");
}

pub mod text {
    tonic::include_proto!("text.v1");
}
