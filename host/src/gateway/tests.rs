//! The gateway over real sockets, with raw HTTP/2 clients and a mock upstream.

mod bounds;
mod calls;
mod interop;
mod lifecycle;
mod local;
mod meter;
mod pages;
mod principals;
mod support;
mod tools;
