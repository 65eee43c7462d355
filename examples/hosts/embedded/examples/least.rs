//! The least program that links the host, as the README shows it: `cargo run -p embedded --example least`.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::time::Duration;

use calculator::AddRequest;
use calculator::calculator_service_client::CalculatorServiceClient;
use plugmesh_host::Host;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Host::builder().plugins_in("examples/plugins").start().await?;
    let mut calculator = host.client(CalculatorServiceClient::new);
    let sum = calculator.add(AddRequest { a: 19.0, b: 23.0 }).await?.into_inner().value;
    println!("19 + 23 = {sum}");
    host.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

#[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, rustdoc::all)]
mod calculator {
    tonic::include_proto!("calculator.v1");
}
