//! What the program does with its plugins.

use plugmesh_host::Host;
use tonic::Status;

use crate::proto::calculator::calculator_service_client::CalculatorServiceClient;
use crate::proto::calculator::{AddRequest, DivideRequest, FibonacciRequest};
use crate::proto::notes::notes_service_client::NotesServiceClient;
use crate::proto::notes::{AddNoteRequest, ListNotesRequest};
use crate::proto::text::text_service_client::TextServiceClient;
use crate::proto::text::{ReverseRequest, WordTotalRequest};

/// Largest message that a client takes, in bytes: the mesh's limit, since tonic stops at 4 MiB by itself.
const MAX_MESSAGE: usize = 64 << 20;

/// Calls what is there.
pub(crate) async fn tour(host: &Host) -> Result<(), Status> {
    let provides = |service: &str| host.services().iter().any(|known| known.name == service);
    if provides("calculator.v1.CalculatorService") {
        calculate(host).await?;
    }
    if provides("text.v1.TextService") {
        write(host).await?;
    }
    take_notes(host).await?;
    let gateway = host.addresses().first().map(String::as_str).unwrap_or_default();
    let socket = gateway.trim_start_matches("unix://");
    println!("anybody on this machine who may open its socket can call, too:");
    println!("  grpcurl -plaintext -unix {socket} list");
    Ok(())
}

async fn calculate(host: &Host) -> Result<(), Status> {
    // One client for the whole program: it balances over the plugin's instances, and follows their restarts.
    let mut calculator = host.client(CalculatorServiceClient::new).max_decoding_message_size(MAX_MESSAGE);
    let sum = calculator.add(AddRequest { a: 19.0, b: 23.0 }).await?.into_inner().value;
    println!("calculator: 19 + 23 = {sum}");
    match calculator.divide(DivideRequest { a: 1.0, b: 0.0 }).await {
        Ok(answer) => println!("calculator: 1 / 0 = {}", answer.into_inner().value),
        Err(status) => println!("calculator: 1 / 0 is {:?}: {}", status.code(), status.message()),
    }
    let mut numbers = calculator.fibonacci(FibonacciRequest { count: 10 }).await?.into_inner();
    let mut shown = Vec::new();
    while let Some(number) = numbers.message().await? {
        shown.push(number.value.to_string());
    }
    println!("calculator: fibonacci {}", shown.join(" "));
    Ok(())
}

async fn write(host: &Host) -> Result<(), Status> {
    let mut text = host.client(TextServiceClient::new).max_decoding_message_size(MAX_MESSAGE);
    let reversed = text.reverse(ReverseRequest { text: "hsemgulp".into() }).await?.into_inner().text;
    println!("text: {reversed}");
    // The text plugin, in Python, asks the calculator, in Rust, through the gateway.
    let lines = ["one plugin", "calls another one"].map(str::to_owned).into();
    let words = text.word_total(WordTotalRequest { lines }).await?.into_inner().words;
    println!("text: {words} words, added up by the calculator");
    Ok(())
}

/// The program's own service. Its plugins reach it through the gateway, the program without leaving the process.
async fn take_notes(host: &Host) -> Result<(), Status> {
    let mut notes = host.client(NotesServiceClient::new);
    notes.add_note(AddNoteRequest { text: "all is well".into() }).await?;
    for note in notes.list_notes(ListNotesRequest {}).await?.into_inner().notes {
        println!("notes: {} wrote {:?}", note.author, note.text);
    }
    Ok(())
}
