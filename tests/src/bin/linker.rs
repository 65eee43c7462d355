//! A program that links the host: `linker hold DIR` runs the plugins below DIR until it is killed, `linker drop
//! DIR` lets go of the host once it runs, says `dropped`, and stays.

use std::io::Write;
use std::path::PathBuf;

use plugmesh_host::{BoxError, Host, config::Config};

fn main() -> Result<(), BoxError> {
    let mut args = std::env::args_os().skip(1);
    let what = args.next().ok_or("hold or drop?")?;
    let dir = PathBuf::from(args.next().ok_or("which directory?")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let config = Config { run_dir: Some(dir.join("../run")), ..Config::default() };
        let host = Host::builder().config(config).plugins_in(dir).start().await?;
        say("started")?;
        if what == "drop" {
            drop(host);
            say("dropped")?;
        }
        std::future::pending().await
    })
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
