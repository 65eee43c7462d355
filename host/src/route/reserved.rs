//! Metadata that is the mesh's own.

use http::{HeaderMap, HeaderName};
use plugmesh::metadata;

/// Removes what only the mesh itself may say, but for the names in `kept`.
pub(crate) fn strip(headers: &mut HeaderMap, kept: &[&str]) {
    let is_reserved = |name: &&HeaderName| {
        let name = name.as_str();
        name.starts_with(metadata::PREFIX) && !kept.contains(&name)
    };
    // In all but forged headers there is none, and nothing to allocate.
    while let Some(name) = headers.keys().find(is_reserved).cloned() {
        headers.remove(name);
    }
}
