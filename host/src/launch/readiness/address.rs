//! Reading the address that a plugin wrote, as the words of a stranger.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Longer than any address with its scheme.
const MAX_BYTES: u64 = 128;

/// The address in the file at `path`; nothing when it is gone or still empty.
pub(super) fn read(path: &Path) -> Result<Option<SocketAddr>, String> {
    // Not through a link, and not waiting for the writer of a named pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(io::Error::from(error).to_string()),
    };
    let is_file = file.metadata().map_err(|error| error.to_string())?.is_file();
    if !is_file {
        return Err("it is no regular file".to_owned());
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    match text.len() {
        0 => Ok(None),
        1..=128 => parse(&String::from_utf8_lossy(&text)).map(Some),
        _ => Err(format!("it holds more than {MAX_BYTES} bytes")),
    }
}

fn parse(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim_ascii();
    let address = text.strip_prefix("tcp://").and_then(|address| address.parse::<SocketAddr>().ok());
    let address = address.ok_or_else(|| format!("it says {text:?}"))?;
    if !address.ip().is_loopback() {
        return Err(format!("{address} is no loopback address"));
    }
    if address.port() == 0 {
        return Err("port 0 is the wish, not the port that was bound".to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bound_loopback_address_is_taken() {
        assert_eq!(parse("tcp://127.0.0.1:5000\n").unwrap().port(), 5000);
        assert!(parse("tcp://[::1]:5000").unwrap().is_ipv6());
        for bad in
            ["", "127.0.0.1:1", "tcp://localhost:1", "tcp://10.0.0.1:1", "tcp://127.0.0.1:0", "tcp://\u{0}"]
        {
            assert!(parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn odd_files_are_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(read(&at("missing")), Ok(None));
        std::fs::write(at("empty"), "").unwrap();
        assert_eq!(read(&at("empty")), Ok(None));
        std::fs::write(at("huge"), vec![b'x'; 1 << 20]).unwrap();
        assert!(read(&at("huge")).unwrap_err().contains("128"));
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(read(&at("fifo")).is_err());
        std::os::unix::fs::symlink(at("empty"), at("link")).unwrap();
        assert!(read(&at("link")).is_err());
    }
}
