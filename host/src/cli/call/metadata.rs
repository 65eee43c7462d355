//! Metadata that was asked for on the command line.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;

use super::CallError;
use crate::cli::args::CallArgs;

/// Reads `-H`, `--plugin` and `--instance`.
pub(super) fn from_args(args: &CallArgs) -> Result<MetadataMap, CallError> {
    let mut headers = HeaderMap::new();
    for text in &args.headers {
        let (name, value) = parse(text)?;
        headers.append(name, value);
    }
    let chosen = [(plugmesh::metadata::PLUGIN, &args.plugin), (plugmesh::metadata::INSTANCE, &args.instance)];
    for (name, value) in chosen {
        if let Some(value) = value {
            let value = HeaderValue::from_str(value)
                .map_err(|_| CallError::Header { text: value.clone(), reason: "this is no name" })?;
            headers.insert(name, value);
        }
    }
    Ok(MetadataMap::from_headers(headers))
}

fn parse(text: &str) -> Result<(HeaderName, HeaderValue), CallError> {
    let wrong = |reason| CallError::Header { text: text.to_owned(), reason };
    let (name, value) = text.split_once(':').ok_or_else(|| wrong("there is no colon in it"))?;
    let name: HeaderName = name.trim().parse().map_err(|_| wrong("the key is not valid"))?;
    if name.as_str().starts_with("grpc-") {
        return Err(wrong("keys in grpc- belong to gRPC itself; see --deadline"));
    }
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| wrong("the value is not printable ASCII; a key in -bin takes base64"))?;
    if name.as_str().ends_with("-bin") {
        let probe = HeaderMap::from_iter([(name.clone(), value.clone())]);
        let decoded = MetadataMap::from_headers(probe);
        if decoded.get_bin(name.as_str()).is_none_or(|value| value.to_bytes().is_err()) {
            return Err(wrong("the value of a key in -bin must be base64"));
        }
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> &'static str {
        match parse(text) {
            Err(CallError::Header { reason, .. }) => reason,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_header_is_a_key_and_a_value() {
        let (name, value) = parse("X-User:  ada:1 ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-user", "ada:1"));
        let (name, value) = parse("trace-bin: AAEC").unwrap();
        let map = MetadataMap::from_headers(HeaderMap::from_iter([(name, value)]));
        assert_eq!(map.get_bin("trace-bin").unwrap().to_bytes().unwrap().as_ref(), [0, 1, 2]);
    }

    #[test]
    fn a_bad_header_is_told_why() {
        assert_eq!(reason("x-user"), "there is no colon in it");
        assert_eq!(reason("x user: 1"), "the key is not valid");
        assert_eq!(reason("grpc-timeout: 1S"), "keys in grpc- belong to gRPC itself; see --deadline");
        assert_eq!(reason("x-bin: %%"), "the value of a key in -bin must be base64");
        assert_eq!(reason("x: a\nb"), "the value is not printable ASCII; a key in -bin takes base64");
    }
}
