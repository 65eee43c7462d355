//! Values that must not be printed, and the references that they come from.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::context::Context;
use super::fault::quote;

/// Largest file that `${file:PATH}` takes in: a key or a token, not a data set.
const MAX_SECRET_SIZE: u64 = 64 * 1024;

/// A text that prints as `…`, however it is printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; for the one place that hands it to the plugin.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Why a reference in a text has no value. Names the reference, never a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unresolved {
    #[error("the environment variable {0} is not set")]
    Variable(String),
    #[error("the file {0} cannot be read: {1}")]
    File(String, String),
    #[error("the reference {0} is not one of ${{env:NAME}} and ${{file:PATH}}")]
    Unknown(String),
    #[error("a reference is opened with ${{ and not closed")]
    Open,
}

/// Replaces `${env:NAME}` and `${file:PATH}` (relative to `base`, one trailing line break cut off);
/// `$${` stands for `${`. What is put in is not looked at again.
pub(super) fn expand(text: &str, base: &Path, context: &Context<'_>) -> Result<String, Unresolved> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        let (reference, after) = after.split_once('}').ok_or(Unresolved::Open)?;
        out.push_str(before);
        out.push_str(&resolve(reference, base, context)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn resolve(reference: &str, base: &Path, context: &Context<'_>) -> Result<String, Unresolved> {
    match reference.split_once(':') {
        Some(("env", name)) if !name.is_empty() => {
            (context.variable)(name).ok_or_else(|| Unresolved::Variable(quote(name)))
        }
        Some(("file", path)) if !path.is_empty() => {
            read(&base.join(path)).map_err(|why| Unresolved::File(quote(path), why))
        }
        _ => Err(Unresolved::Unknown(quote(&format!("${{{reference}}}")))),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    // Opening a pipe would wait for somebody to write into it.
    if !std::fs::metadata(path).map_err(text)?.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(text)?
        .take(MAX_SECRET_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(text)?;
    if bytes.len() as u64 > MAX_SECRET_SIZE {
        return Err(format!("it is larger than {MAX_SECRET_SIZE} bytes"));
    }
    let mut secret = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if secret.ends_with('\n') {
        secret.pop();
        if secret.ends_with('\r') {
            secret.pop();
        }
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Platform;

    fn expanded(text: &str, base: &Path) -> Result<String, Unresolved> {
        let variable = |name: &str| (name == "TOKEN").then(|| "a${env:TOKEN}b".to_owned());
        expand(text, base, &Context { variable: &variable, platform: Platform::CURRENT })
    }

    #[test]
    fn references_are_replaced_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "secret\n\n").unwrap();
        let base = folder.path();
        assert_eq!(expanded("x ${env:TOKEN} y", base).unwrap(), "x a${env:TOKEN}b y");
        assert_eq!(expanded("${file:key}|", base).unwrap(), "secret\n|");
        assert_eq!(expanded("$${env:TOKEN} $ $$ {} $", base).unwrap(), "${env:TOKEN} $ $$ {} $");
    }

    #[test]
    fn what_has_no_value_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let said = |text: &str| expanded(text, folder.path()).unwrap_err().to_string();
        assert_eq!(said("${env:OTHER}"), "the environment variable \"OTHER\" is not set");
        assert!(said("${file:none}").starts_with("the file \"none\" cannot be read: "));
        assert!(said("${file:.}").ends_with("not a regular file"));
        assert_eq!(said("${HOME}"), "the reference \"${HOME}\" is not one of ${env:NAME} and ${file:PATH}");
        assert_eq!(said("${env:TOKEN"), "a reference is opened with ${ and not closed");
        std::fs::write(folder.path().join("big"), vec![b'x'; 70_000]).unwrap();
        assert!(said("${file:big}").ends_with("larger than 65536 bytes"));
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "… … …");
        assert_eq!(secret.expose(), "hunter2");
    }
}
