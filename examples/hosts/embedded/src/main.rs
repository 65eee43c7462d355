//! A program that links the host: it starts the example plugins, calls them through generated clients, offers
//! them a service of its own, and shuts down.
//!
//! `cargo run -p embedded` does that and ends; `cargo run -p embedded -- --stay` waits for Ctrl-C before the
//! end, so that you can call the gateway with grpcurl or `plugmesh`. Other arguments are directories of plugins to
//! start in place of the examples.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

mod notes;
mod proto;
mod tour;

use std::error::Error;
use std::time::Duration;

use plugmesh_host::{Host, HostBuilder};

use notes::Notes;
use proto::notes::notes_service_server::NotesServiceServer;

/// Where the plugins of this repository are.
const PLUGINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins");

/// How long calls may finish when the program ends.
const GRACE: Duration = Duration::from_secs(5);

// One thread for calls is the fastest layout; the host looks after its plugins on a thread of its own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).compact().init();
    println!("starting the plugins (the first time they are built, which takes a while)");
    let mut directories: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--stay").collect();
    if directories.is_empty() {
        directories.push(PLUGINS.to_owned());
    }
    let builder = directories.into_iter().fold(Host::builder(), HostBuilder::plugins_in);
    let builder = builder.service(NotesServiceServer::new(Notes::default()));
    let (host, problems) = builder.start_with_problems().await?;
    for problem in problems {
        println!("not running: {problem}");
    }
    // What goes wrong on the tour must not keep the host from ending in good order.
    let toured = tour::tour(&host).await;
    if toured.is_ok() && std::env::args().any(|argument| argument == "--stay") {
        println!("Ctrl-C ends it");
        tokio::signal::ctrl_c().await?;
    }
    host.shutdown(GRACE).await;
    println!("every plugin has ended");
    Ok(toured?)
}
