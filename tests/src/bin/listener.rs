//! A plugin that handles the events of `job.*` as each of them says, and publishes `done.NAME` for what it has handled.
//!
//! The data of an event is the name of what to do: `ok`, `fail` (the first time), `panic`, `reject`, `exit` (the first time: the process
//! ends before the bus hears of it), or `hang`. From its environment: `LISTENER_PATTERN`, instead of `job.*`; `LISTENER_DURABLE`, a
//! durable name; `LISTENER_PUBLISHES`, instead of `done.>`.

use std::time::Duration;

use plugmesh_sdk::events::{Ack, Event, Handler, Received, Redelivery, Reject};
use plugmesh_sdk::{BoxError, Context, Error, Plugin};

fn main() -> Result<(), Error> {
    let said = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let plugin = Plugin::new("listener", "0.1.0").publishes(said("LISTENER_PUBLISHES", "done.>"));
    let context = plugin.context();
    let handler = Handler::new(said("LISTENER_PATTERN", "job.*"), move |received| {
        let context = context.clone();
        async move { handle(received, context).await }
    });
    let quick = prost_types::Duration { seconds: 0, nanos: 1_000_000 };
    let redelivery = Redelivery { initial_interval: Some(quick), max_attempts: 3, ..Redelivery::default() };
    let handler = handler.subscription(|what| what.redelivery = Some(redelivery));
    let durable = said("LISTENER_DURABLE", "");
    let handler = if durable.is_empty() { handler } else { handler.durable(durable) };
    plugin.handler(handler).run()
}

async fn handle(received: Received, context: Context) -> Result<(), BoxError> {
    let Received { event, attempt, .. } = &received;
    let what: String = event.json()?;
    let is_first = *attempt == 1;
    match what.as_str() {
        "fail" if is_first => return Err("not this time".into()),
        "panic" => panic!("no such job"),
        "reject" => return Err(Reject("never".to_owned()).into()),
        "exit" if is_first => std::process::exit(3),
        "hang" => tokio::time::sleep(Duration::from_secs(3600)).await,
        _ => {}
    }
    let instance = context.instance().map(|instance| instance.name).unwrap_or_default();
    let topic = event.event_type().replacen("job", "done", 1);
    let done = Event::builder(&topic, &instance)
        .subject(event.id())
        .json(&serde_json::json!({ "attempt": attempt, "what": what }))?
        .build()?;
    // Handled is what the bus knows to be done.
    context.events().publish_with_retry(done, Ack::Accepted).await?;
    Ok(())
}
