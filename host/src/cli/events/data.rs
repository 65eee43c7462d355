//! What an event says, from the command line, a file or standard input.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use super::error::EventsError;
use crate::cli::args::events::PublishArgs;
use crate::cli::reading;

/// Most that is read: as much as a host can be configured to take.
const MAX_BYTES: usize = 4 << 20;

/// The data that the options give; `None` when they give none.
///
/// # Errors
///
/// It cannot be read, or is not the JSON that it should be.
pub(super) async fn read(args: &PublishArgs) -> Result<Option<Vec<u8>>, EventsError> {
    let data = match (args.data.as_deref(), args.data_file.as_deref()) {
        (Some("@"), _) => standard_input().await?,
        (Some(text), _) => match text.strip_prefix('@') {
            Some(path) => file(Path::new(path)).await?,
            None => text.as_bytes().to_vec(),
        },
        (None, Some(path)) if path == Path::new("-") => standard_input().await?,
        (None, Some(path)) => file(path).await?,
        (None, None) => return Ok(None),
    };
    if is_json(&args.content_type) {
        let checked: Result<IgnoredAny, _> = serde_json::from_slice(&data);
        checked.map_err(|source| EventsError::NotJson { media_type: args.content_type.clone(), source })?;
    }
    Ok(Some(data))
}

/// Whether data of this media type is JSON.
pub(super) fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

async fn standard_input() -> Result<Vec<u8>, EventsError> {
    bounded(reading::whole(io::stdin(), MAX_BYTES).await, "standard input".into())
}

async fn file(path: &Path) -> Result<Vec<u8>, EventsError> {
    let read = match File::open(path) {
        Ok(file) => reading::whole(file, MAX_BYTES).await,
        Err(error) => Err(error),
    };
    bounded(read, path.to_owned())
}

fn bounded(read: io::Result<Vec<u8>>, path: PathBuf) -> Result<Vec<u8>, EventsError> {
    match read {
        Ok(data) if data.len() > MAX_BYTES => Err(EventsError::TooLarge { path, most: MAX_BYTES }),
        Ok(data) => Ok(data),
        Err(source) => Err(EventsError::Input { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_many_media_types() {
        for json in
            ["application/json", "text/json", "application/vnd.shop+json; charset=utf-8", "Application/JSON"]
        {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/plain", "application/jsonl", "application/json-seq"] {
            assert!(!is_json(other), "{other}");
        }
    }
}
