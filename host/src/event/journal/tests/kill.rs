//! The process is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;

const ROUNDS: u64 = 24;

/// Tells a test that it is the child, and where to work.
const CHILD: &str = "PLUGMESH_TEST_CHILD";

/// The directory of a child; `None` in the test itself.
pub(super) fn is_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// This program again, to run one test of it as a child in `directory`, behind `before` on its command line.
#[allow(clippy::disallowed_methods, reason = "the test waits for its child")]
pub(super) fn child(before: &[&str], test: &str, directory: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let words = before.iter().map(std::ffi::OsStr::new).chain([program.as_os_str()]);
    let words: Vec<_> = words.chain(["--exact", test, "--nocapture"].map(std::ffi::OsStr::new)).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(CHILD, directory);
    command
}

/// Appends without end, and prints a line for each run that was acknowledged: its places.
async fn append_for_ever(directory: &Path) {
    let (journal, _) = open(directory).await;
    let journal = Arc::new(journal);
    let tasks = (0..6).map(|task| {
        let journal = journal.clone();
        async move {
            let stream = journal.stream(if task % 2 == 0 { "safe" } else { "fast" }).unwrap();
            for step in 0_u64.. {
                let count = 1 + (step * 7 + task) % 30;
                let done = journal.append(stream, run(0..count)).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {} {count}", done.first_place).unwrap();
                out.flush().unwrap();
            }
        }
    });
    futures_util::future::join_all(tasks).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_the_process() {
    const NAME: &str = "event::journal::tests::kill::nothing_acknowledged_is_lost_with_the_process";
    if let Some(directory) = is_child() {
        return append_for_ever(&directory).await;
    }
    let directory = directory();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut end = 0;
    for round in 0..ROUNDS {
        let mut process = child(&[], NAME, directory.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        let mut note = |line: String| -> Option<()> {
            let mut words =
                line.strip_prefix("acknowledged ")?.split(' ').map(|word| word.parse::<u64>().unwrap());
            acknowledged.push((words.next()?, words.next()?));
            Some(())
        };
        // The child works on meanwhile, so this is any point of its work.
        let wanted = rng.usize(1..400);
        let seen = lines.by_ref().map_while(|line| Some(note(line.ok()?))).flatten().take(wanted).count();
        assert_eq!(seen, wanted, "the child has ended");
        process.kill().unwrap();
        process.wait().unwrap();
        // What it had said by then counts, too; the last line may be a part of one.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        rest.into_iter().take(whole).filter_map(note).for_each(drop);

        let (journal, opened) = open(directory.path()).await;
        assert_eq!(opened.salvage, None, "round {round}");
        let read = read_all(&journal, 10_000, 1 << 20).await;
        assert_eq!(read.damaged, []);
        let places: Vec<_> = ids(&read.stored).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, (1..=journal.last_place()).collect::<Vec<_>>(), "round {round}");
        for (first, count) in acknowledged {
            assert!(first > end, "round {round}: place {first} was given before");
            assert!(first + count - 1 <= journal.last_place(), "round {round}: {first} is lost");
        }
        end = journal.last_place();
    }
}
