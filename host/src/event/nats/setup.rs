//! How to connect, and which streams there are.

use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, Info, StorageType};

use super::super::duplicates;
use super::ANSWER;
use super::names::Names;
use crate::config::NatsConfig;

/// The stream of events.
pub(super) fn events(config: &NatsConfig, names: &Names) -> Config {
    Config {
        name: names.stream.clone(),
        subjects: vec![names.all_events()],
        storage: StorageType::File,
        max_age: config.max_age.unwrap_or_default(),
        max_bytes: config.max_size.map_or(-1, |size| size.as_u64() as i64),
        max_messages: config.max_events.map_or(-1, i64::from),
        duplicate_window: duplicates::WINDOW.min(config.max_age.unwrap_or(duplicates::WINDOW)),
        num_replicas: config.replicas as usize,
        allow_direct: true,
        description: Some("events of plugmesh".to_owned()),
        ..Config::default()
    }
}

/// That of dead letters: the oldest goes when there are too many.
pub(super) fn letters(config: &NatsConfig, names: &Names) -> Config {
    Config {
        name: names.letters.clone(),
        subjects: vec![names.letters_subject.clone()],
        max_age: Duration::ZERO,
        max_bytes: config.max_dead_letter_size.as_u64() as i64,
        max_messages: config.max_dead_letters.into(),
        duplicate_window: duplicates::WINDOW,
        description: Some("events that plugmesh could not deliver".to_owned()),
        ..events(config, names)
    }
}

/// How to connect.
pub(super) fn options(config: &NatsConfig) -> ConnectOptions {
    let mut options = ConnectOptions::new().name("plugmesh").request_timeout(Some(ANSWER));
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(token) = &config.token {
        options = options.token(token.expose().to_owned());
    }
    let Some(tls) = &config.tls else { return options };
    options = options.require_tls(true);
    if let Some(ca) = &tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    match &tls.identity {
        Some((cert, key)) => options.add_client_certificate(cert.clone(), key.clone()),
        None => options,
    }
}

/// Makes a stream, or brings the one that is there to what is wanted.
pub(super) async fn ensure(context: &Context, wanted: Config) -> Result<Info, crate::BoxError> {
    let stream = context.get_or_create_stream(wanted.clone()).await?;
    let info = stream.cached_info();
    let found = &info.config;
    let is_as_wanted = found.subjects == wanted.subjects
        && found.max_age == wanted.max_age
        && found.max_bytes == wanted.max_bytes
        && found.max_messages == wanted.max_messages
        && found.duplicate_window == wanted.duplicate_window
        && found.num_replicas == wanted.num_replicas;
    if is_as_wanted {
        return Ok(info.clone());
    }
    // What is not configured here stays as it is.
    let wanted = Config {
        subjects: wanted.subjects,
        max_age: wanted.max_age,
        max_bytes: wanted.max_bytes,
        max_messages: wanted.max_messages,
        duplicate_window: wanted.duplicate_window,
        num_replicas: wanted.num_replicas,
        ..found.clone()
    };
    Ok(context.update_stream(wanted).await?)
}
