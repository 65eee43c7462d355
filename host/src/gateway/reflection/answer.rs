//! Answers, the same for both versions of the protocol.

use std::collections::BTreeSet;

use bytes::Bytes;
use tonic::Code;

use super::catalog::{Entry, View};

/// Bytes of files in one answer: below the 4 MiB that stock clients accept. Files left out are asked for by
/// name.
const MAX_ANSWER: usize = 3 << 20;

/// What a client asks.
#[derive(Debug)]
pub(super) enum Question {
    File(String),
    Symbol(String),
    Extension { extended: String, number: i32 },
    ExtensionNumbers(String),
    Services,
}

/// What it is told.
#[derive(Debug)]
pub(super) enum Answer {
    Files(Vec<Bytes>),
    ExtensionNumbers { extended: String, numbers: Vec<i32> },
    Services(Vec<String>),
    Error { code: Code, message: String },
}

/// Answers one question.
pub(super) fn answer(question: Question, view: &View<'_>) -> Answer {
    match question {
        Question::Services => Answer::Services(view.services()),
        Question::File(name) => {
            files(view, |entry| entry.descriptors.file_named(&name), || format!("no file {}", shown(&name)))
        }
        Question::Symbol(name) => {
            let find = |entry: &Entry| entry.descriptors.file_with_symbol(&name);
            files(view, find, || format!("no symbol {}", shown(&name)))
        }
        Question::Extension { extended, number } => {
            let find = |entry: &Entry| entry.descriptors.file_with_extension(&extended, number);
            files(view, find, || format!("no extension {number} of {}", shown(&extended)))
        }
        Question::ExtensionNumbers(extended) => {
            let of = |entry: &Entry| entry.descriptors.extension_numbers(&extended).collect::<Vec<_>>();
            let numbers: BTreeSet<_> = view.entries().flat_map(of).collect();
            let known = view.entries().any(|entry| entry.descriptors.has_symbol(&extended));
            if numbers.is_empty() && !known {
                return not_found(format!("no type {}", shown(&extended)));
            }
            Answer::ExtensionNumbers { extended, numbers: numbers.into_iter().collect() }
        }
    }
}

fn files(
    view: &View<'_>,
    find: impl Fn(&Entry) -> Option<usize>,
    otherwise: impl FnOnce() -> String,
) -> Answer {
    let found = view.entries().find_map(|entry| Some((entry, find(entry)?)));
    match found {
        Some((entry, file)) => Answer::Files(entry.descriptors.with_imports(file, MAX_ANSWER)),
        None => not_found(otherwise()),
    }
}

fn not_found(message: String) -> Answer {
    Answer::Error { code: Code::NotFound, message }
}

/// A client may ask for a name of any length.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(200).collect::<String>())
}
