//! What a person reads who starts a plugin by hand.

use std::io::{self, Write};

/// Prints how to reach the plugin. That nobody reads stdout is no error.
pub(crate) fn announce(name: &str, version: &str, address: &str, tls: bool) {
    let grpcurl = match (address.strip_prefix("unix://"), address.strip_prefix("tcp://")) {
        (Some(path), _) => format!("grpcurl -plaintext -unix {path} list"),
        (None, Some(address)) if tls => {
            format!("grpcurl -cacert CA.pem -cert HOST.pem -key HOST.key {address} list")
        }
        (None, Some(address)) => format!("grpcurl -plaintext {address} list"),
        (None, None) => String::new(),
    };
    let text = format!(
        "{name} {version} listens on {address}\n  \
         look at it:           {grpcurl}\n  \
         into a running host:  plugmesh attach {name} {address}\n  \
         end it:               Ctrl-C\n"
    );
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
