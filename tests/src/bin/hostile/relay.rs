//! Frames of HTTP/2 that no server would send, among those of one that is well.

use std::sync::LazyLock;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

/// What is sent without end, on every connection, from when it is told.
pub(super) static FLOOD: LazyLock<watch::Sender<&'static [u8]>> = LazyLock::new(|| watch::Sender::new(&[]));

/// The connection as a server that is well sees it.
pub(super) fn relayed(outside: UnixStream) -> UnixStream {
    let (inside, near) = UnixStream::pair().unwrap();
    tokio::spawn(async move {
        let (read, mut write) = outside.into_split();
        let (mut answers, requests) = near.into_split();
        tokio::spawn(pass_on(BufReader::new(read), requests));
        let mut told = FLOOD.subscribe();
        // More than the server ever writes at once, so that what is read ends with a frame.
        let mut answer = vec![0; 1 << 20];
        loop {
            let frames = *told.borrow_and_update();
            let flooding = !frames.is_empty();
            let written = tokio::select! {
                biased;
                read = answers.read(&mut answer) => match read {
                    Ok(read) if read > 0 => write.write_all(&answer[..read]).await,
                    _ => return,
                },
                _ = told.changed() => Ok(()),
                () = std::future::ready(()), if flooding => write.write_all(frames).await,
            };
            if written.is_err() {
                return;
            }
        }
    });
    inside
}

/// Passes on what the host sends, but for its answers to SETTINGS that the server has not sent: it would end the
/// connection over them.
async fn pass_on(mut read: BufReader<OwnedReadHalf>, mut write: OwnedWriteHalf) -> std::io::Result<()> {
    let mut preface = [0; 24];
    read.read_exact(&mut preface).await?;
    write.write_all(&preface).await?;
    let mut acknowledged = false;
    loop {
        let mut frame = vec![0; 9];
        read.read_exact(&mut frame).await?;
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
        frame.resize(9 + length as usize, 0);
        read.read_exact(&mut frame[9..]).await?;
        let is_acknowledgement = frame[3..5] == [4, 1];
        if !(is_acknowledgement && std::mem::replace(&mut acknowledged, true)) {
            write.write_all(&frame).await?;
        }
    }
}
