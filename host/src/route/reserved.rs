//! Metadata that is the mesh's own.

use http::{HeaderMap, HeaderName};
use plugmesh::metadata;

/// Whether only the mesh itself may say it.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    name.as_str().starts_with(metadata::PREFIX)
}

/// Removes what only the mesh itself may say, but for the names in `kept`.
pub(crate) fn strip(headers: &mut HeaderMap, kept: &[&str]) {
    let goes = |name: &&HeaderName| is_reserved(name) && !kept.contains(&name.as_str());
    // In all but forged headers there is none, and nothing to allocate.
    while let Some(name) = headers.keys().find(goes).cloned() {
        headers.remove(name);
    }
}
