//! The messages to send.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::Value;
use tokio::sync::mpsc;

use super::CallError;
use crate::cli::reading::Reading;

/// Where the messages come from.
#[derive(Debug)]
pub(super) enum Input {
    /// Already here.
    Given(Vec<Value>),
    /// Read while the call goes on.
    Read(Reader),
}

impl Input {
    /// Opens what `-d` names. A method that takes one message gets it read here, so that what is wrong
    /// with it is known before the call.
    pub(super) async fn open(data: Option<&str>, method: &MethodDescriptor) -> Result<Self, CallError> {
        let input = match data {
            Some("@") => Self::Read(Reader::start(io::stdin(), "standard input".into())?),
            Some(text) => match text.strip_prefix('@') {
                Some(path) => Self::Read(Reader::open(Path::new(path))?),
                None => Self::Given(parse(text)?),
            },
            None if method.is_client_streaming() => {
                Self::Read(Reader::start(io::stdin(), "standard input".into())?)
            }
            None => Self::Given(vec![Value::Object(serde_json::Map::new())]),
        };
        if method.is_client_streaming() {
            return Ok(input);
        }
        let messages = match input {
            Self::Given(messages) => messages,
            Self::Read(mut reader) => {
                let mut messages = Vec::new();
                // A second one is an error already: no need to read them all.
                while messages.len() < 2 {
                    match reader.next().await {
                        Some(message) => messages.push(message?),
                        None => break,
                    }
                }
                messages
            }
        };
        if messages.len() != 1 {
            return Err(CallError::NotOneMessage {
                method: method.full_name().to_owned(),
                empty: messages.is_empty(),
            });
        }
        // Wrong fields are found now, too.
        for (at, message) in messages.iter().enumerate() {
            convert(at + 1, message.clone(), method.input())?;
        }
        Ok(Self::Given(messages))
    }

    /// Sends every message, then closes the sending side. Ends early, without an error, when the call
    /// does not take any more.
    pub(super) async fn send(
        self,
        message: MessageDescriptor,
        limit: usize,
        sender: mpsc::Sender<DynamicMessage>,
    ) -> Result<(), CallError> {
        let mut number = 0;
        let ready = |number, value| {
            let message = convert(number, value, message.clone())?;
            match message.encoded_len() {
                size if size > limit => Err(CallError::TooLarge { number, size, limit }),
                _ => Ok(message),
            }
        };
        match self {
            Self::Given(values) => {
                for value in values {
                    number += 1;
                    if sender.send(ready(number, value)?).await.is_err() {
                        break;
                    }
                }
            }
            Self::Read(mut reader) => {
                while let Some(value) = reader.next().await {
                    number += 1;
                    if sender.send(ready(number, value?)?).await.is_err() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads JSON documents as they come.
#[derive(Debug)]
pub(super) struct Reader(Reading<Result<Value, CallError>>);

impl Reader {
    fn open(path: &Path) -> Result<Self, CallError> {
        let file = File::open(path).map_err(|source| CallError::Input { path: path.to_owned(), source })?;
        Self::start(file, path.to_owned())
    }

    fn start(source: impl AsFd + Read + Send + 'static, path: PathBuf) -> Result<Self, CallError> {
        let name = path.clone();
        Reading::start(source, move |source, sender| read(source, &name, sender))
            .map(Self)
            .map_err(|source| CallError::Input { path, source })
    }

    /// The next message; none at the end of the input.
    async fn next(&mut self) -> Option<Result<Value, CallError>> {
        self.0.next().await
    }
}

fn read(source: impl Read, name: &Path, sender: &mpsc::Sender<Result<Value, CallError>>) {
    let documents = serde_json::Deserializer::from_reader(BufReader::new(source)).into_iter::<Value>();
    for (at, document) in documents.enumerate() {
        let failed = document.is_err();
        let message = document.map_err(|source| {
            if source.is_io() {
                CallError::Input { path: name.to_owned(), source: source.into() }
            } else {
                CallError::Json { number: at + 1, source }
            }
        });
        if sender.blocking_send(message).is_err() || failed {
            return;
        }
    }
}

fn parse(text: &str) -> Result<Vec<Value>, CallError> {
    serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .enumerate()
        .map(|(at, value)| value.map_err(|source| CallError::Json { number: at + 1, source }))
        .collect()
}

fn convert(number: usize, value: Value, message: MessageDescriptor) -> Result<DynamicMessage, CallError> {
    DynamicMessage::deserialize(message.clone(), value).map_err(|source| CallError::Field {
        number,
        source,
        message,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;

    async fn next(reader: &mut Reader) -> Option<Result<Value, CallError>> {
        tokio::time::timeout(Duration::from_secs(10), reader.next()).await.expect("no message came")
    }

    #[tokio::test]
    async fn a_message_is_there_as_soon_as_it_is_complete() {
        let (input, mut typed) = io::pipe().unwrap();
        let mut reader = Reader::start(input, "test".into()).unwrap();
        typed.write_all(b"{\"a\":1} {\"a\"").unwrap();
        assert_eq!(next(&mut reader).await.unwrap().unwrap(), serde_json::json!({"a": 1}));
        typed.write_all(b":2}\n{\"a\":3}").unwrap();
        assert_eq!(next(&mut reader).await.unwrap().unwrap(), serde_json::json!({"a": 2}));
        assert_eq!(next(&mut reader).await.unwrap().unwrap(), serde_json::json!({"a": 3}));
        drop(typed);
        assert!(next(&mut reader).await.is_none());
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_with_its_place() {
        let (input, mut typed) = io::pipe().unwrap();
        let mut reader = Reader::start(input, "test".into()).unwrap();
        typed.write_all(b"{}\n{\"a\" 1}").unwrap();
        next(&mut reader).await.unwrap().unwrap();
        let error = next(&mut reader).await.unwrap().unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            (error.to_string().as_str(), source.as_str()),
            ("message 2 is not JSON", "expected `:` at line 2 column 6")
        );
        assert!(next(&mut reader).await.is_none());
    }

    #[test]
    fn dropping_the_reader_ends_its_thread() {
        let (input, _typed) = io::pipe().unwrap();
        drop(Reader::start(input, "test".into()).unwrap());
        let (input, mut typed) = io::pipe().unwrap();
        let reader = Reader::start(input, "test".into()).unwrap();
        typed.write_all("{}".repeat(100).as_bytes()).unwrap();
        drop(reader);
    }
}
