//! Starting, output, readiness.

use std::os::unix::fs::PermissionsExt;

use super::*;

async fn all(mut lines: mpsc::Receiver<LogLine>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Ok(line) = lines.try_recv() {
        texts.push(line.text);
    }
    texts
}

#[tokio::test]
async fn a_child_gets_what_it_is_given_and_nothing_else() {
    let launcher = launcher();
    let dir = tempfile::tempdir().unwrap();
    // A descriptor that is not marked close-on-exec, as a careless library leaves it.
    let careless = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 100).unwrap();
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).unwrap();
    let (spec, lines) = shell("env | sort; pwd; cat; ls /proc/$$/fd; ps -o pgid= -p $$; echo $$");
    let id = InstanceId::random();
    let environment = [path(), ("GREETING".into(), "hi".into())];
    let spec = ProcessSpec { instance: id.clone(), ..spec }.environment(environment).work_dir(dir.path());
    let process = launcher.spawn(spec).await.unwrap();
    assert!(process.wait().await.is_success());
    let said = all(lines).await;
    let expected_id = format!("PLUGMESH_INSTANCE_ID={id}");
    for wanted in ["GREETING=hi", "PLUGMESH_LIFELINE_FD=3", &expected_id] {
        assert!(said.iter().any(|line| line == wanted), "{wanted} is not in {said:?}");
    }
    let foreign = ["HOME=", "CARGO"].iter().any(|name| said.iter().any(|line| line.starts_with(name)));
    assert!(!foreign, "{said:?}");
    assert!(said.iter().any(|line| Path::new(line) == dir.path().canonicalize().unwrap()));
    // Process ids may be as short as descriptors.
    let [said @ .., group, pid] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(group.trim(), pid);
    let descriptors = said.iter().filter(|line| line.len() <= 3);
    assert_eq!(descriptors.collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    drop(careless);
}

#[tokio::test]
async fn both_streams_come_whole_and_the_end_is_kept() {
    let launcher = launcher();
    let (spec, mut lines) =
        shell("echo out; echo '{\"level\":\"error\",\"msg\":\"bad\",\"n\":1}' >&2; printf tail >&2; exit 3");
    let process = launcher.spawn(spec).await.unwrap();
    let exit = process.wait().await;
    assert_eq!(exit.to_string(), "exited with status 3");
    assert_eq!(process.exit(), Some(exit));
    assert_eq!(process.last_lines(), ["bad", "tail"]);
    let mut seen = Vec::new();
    while let Ok(line) = lines.try_recv() {
        seen.push((line.stream, line.level, line.text, line.fields_json));
    }
    seen.sort_by_key(|(stream, ..)| *stream == Stream::Stderr);
    let plain = |stream, text: &str| (stream, None, text.to_owned(), None);
    let json = (Stream::Stderr, Some(Level::Error), "bad".to_owned(), Some(r#"{"n":1}"#.to_owned()));
    assert_eq!(seen, [plain(Stream::Stdout, "out"), json, plain(Stream::Stderr, "tail")]);
}

#[derive(Default)]
struct Counting(std::sync::Mutex<(u64, u64, usize)>);

impl LogSink for Counting {
    fn line(&self, line: LogLine) {
        let mut counts = self.0.lock().unwrap();
        counts.0 += 1;
        counts.2 = counts.2.max(line.text.len());
    }

    fn lost(&self, _: Stream, count: u64) {
        self.0.lock().unwrap().1 += count;
    }
}

#[tokio::test]
async fn a_flood_neither_blocks_nor_grows() {
    const FLOOD: u64 = 64 << 20;
    let launcher = launcher();
    let sink = Arc::new(Counting::default());
    let (spec, _lines) = shell(&format!("head -c {FLOOD} /dev/zero; head -c {FLOOD} /dev/zero >&2"));
    let process = launcher.spawn(spec.log(Arc::clone(&sink) as Arc<dyn LogSink>)).await.unwrap();
    let exit = tokio::time::timeout(PATIENCE, process.wait()).await.unwrap();
    assert!(exit.is_success());
    let (kept, lost, longest) = *sink.0.lock().unwrap();
    assert_eq!(kept + lost, 2 * FLOOD / MAX_LINE_BYTES as u64);
    assert!(lost > kept, "{lost} lost, {kept} kept");
    // A zero byte becomes the replacement character, of three bytes.
    assert_eq!(longest, 3 * MAX_LINE_BYTES);
    assert_eq!(process.last_lines().len(), 1);
}

#[derive(Default)]
struct Errors(std::sync::Mutex<Vec<String>>);

impl LogSink for Errors {
    fn line(&self, line: LogLine) {
        if line.stream == Stream::Stderr {
            self.0.lock().unwrap().push(line.text);
        }
    }
}

#[tokio::test]
async fn a_flood_of_output_leaves_room_for_the_errors() {
    let launcher = launcher();
    let sink = Arc::new(Errors::default());
    let (spec, _lines) = shell("yes | head -n 3000000 & seq 1000 >&2; wait");
    let process = launcher.spawn(spec.log(Arc::clone(&sink) as Arc<dyn LogSink>)).await.unwrap();
    assert!(tokio::time::timeout(PATIENCE, process.wait()).await.unwrap().is_success());
    assert_eq!(*sink.0.lock().unwrap(), (1..=1000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_pipe_held_by_an_escaped_process_does_not_delay_the_end() {
    let launcher = launcher();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    // Neither in the group, nor with the cookie, nor below the leader when that ends.
    let escape = format!("echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 1; done", file.display());
    let escape =
        format!("(env -i setsid sh -c '{escape}' &); while [ ! -e {} ]; do sleep 0.01; done", file.display());
    let (spec, _lines) = shell(&escape);
    let process = launcher.spawn(spec).await.unwrap();
    let exit = tokio::time::timeout(PATIENCE, process.wait()).await.expect("the pipe delays the end");
    assert!(exit.is_success());
    let escaped = Held::new(&std::fs::read_to_string(&file).unwrap());
    rustix::process::pidfd_send_signal(&escaped.pidfd, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn what_cannot_start_is_explained() {
    let launcher = launcher();
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o600)).unwrap();
    let spawn = |program: &Path| launcher.spawn(ProcessSpec::new(program, InstanceId::random()));
    let error = spawn(&plain).await.unwrap_err().to_string();
    assert_eq!(error, format!("{0} may not be executed (mode 0600); run `chmod +x {0}`", plain.display()));
    let error = spawn(&dir.path().join("plane")).await.unwrap_err().to_string();
    assert!(error.ends_with("/plain meant?"), "{error}");
    let error = spawn(Path::new("sh")).await.unwrap_err().to_string();
    assert!(error.contains("no directory of PATH"), "{error}");
    let error = spawn(Path::new("a\0b")).await.unwrap_err();
    assert!(matches!(error, SpawnError::Nul { .. }), "{error}");
    let (spec, _lines) = shell("true");
    let error = launcher.spawn(spec.work_dir("/no/such/directory")).await.unwrap_err();
    assert!(matches!(error, SpawnError::WorkDir { .. }), "{error}");
    assert!(launcher.spawn(ProcessSpec::new("sh", InstanceId::random()).environment([path()])).await.is_ok());
}

struct Place {
    run: RunDirectory,
    _base: tempfile::TempDir,
}

fn place() -> Place {
    let base = tempfile::tempdir().unwrap();
    Place { run: RunDirectory::create(&BaseSearch::only(base.path())).unwrap(), _base: base }
}

fn listener(variable: &str, path: &Path) -> ProcessSpec {
    let environment = [(HELPER.into(), "listener".into()), (variable.into(), path.as_os_str().to_owned())];
    let program = std::env::current_exe().unwrap();
    ProcessSpec::new(program, InstanceId::random())
        .arguments(helper_arguments("listener"))
        .environment(environment)
}

#[tokio::test]
async fn a_listener_is_noticed_on_a_socket_and_on_tcp() {
    let (launcher, place, arrivals) = (launcher(), place(), Arrivals::start().unwrap());
    let name = crate::name::InstanceName::new("calculator".parse().unwrap(), 0);
    let files = place.run.instance(&name, &InstanceId::random()).unwrap();
    let armed = arrivals.arm(Awaited::Socket(files.socket().to_owned())).unwrap();
    let process = launcher.spawn(listener("SOCKET", files.socket())).await.unwrap();
    assert!(matches!(armed.wait(&process, PATIENCE).await.unwrap(), Connected::Unix(_)));

    let armed = arrivals.arm(Awaited::AddressFile(files.address_file().to_owned())).unwrap();
    let process = launcher.spawn(listener("PLUGMESH_ADDRESS_FILE", files.address_file())).await.unwrap();
    let connected = armed.wait(&process, PATIENCE).await.unwrap();
    let Connected::Tcp(stream, address) = connected else { panic!("{connected:?}") };
    assert_eq!(stream.peer_addr().unwrap(), address);
}

#[tokio::test]
async fn an_early_end_and_a_silence_are_told_apart() {
    let (launcher, place, arrivals) = (launcher(), place(), Arrivals::start().unwrap());
    let awaited = || Awaited::Socket(place.run.socket("never").unwrap());
    let armed = arrivals.arm(awaited()).unwrap();
    let (spec, _lines) = shell("echo no licence >&2; exit 3");
    let process = launcher.spawn(spec).await.unwrap();
    let error = armed.wait(&process, PATIENCE).await.unwrap_err();
    let socket = awaited().path().display().to_string();
    let expected = format!(
        "it exited with status 3 before it listened on unix://{socket}; its last lines were:\n  no licence"
    );
    assert_eq!(error.to_string(), expected);

    let armed = arrivals.arm(awaited()).unwrap();
    let (spec, _lines) = shell("sleep 1000");
    let process = launcher.spawn(spec).await.unwrap();
    assert!(process.has_member(i32::try_from(process.pid()).unwrap()));
    assert!(!process.has_member(rustix::process::getpid().as_raw_nonzero().get()));
    let error = armed.wait(&process, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, NotReady::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_bad_address_is_refused() {
    let (launcher, place, arrivals) = (launcher(), place(), Arrivals::start().unwrap());
    let file = place.run.path().join("bad.address");
    let armed = arrivals.arm(Awaited::AddressFile(file.clone())).unwrap();
    let (spec, _lines) =
        shell(&format!("echo tcp://192.0.2.1:80 > {0}.x; mv {0}.x {0}; sleep 1000", file.display()));
    let process = launcher.spawn(spec).await.unwrap();
    let error = armed.wait(&process, PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("192.0.2.1:80 is no loopback address"), "{error}");
}

#[tokio::test]
async fn a_socket_that_does_not_listen_yet_is_tried_again() {
    let (launcher, place, arrivals) = (launcher(), place(), Arrivals::start().unwrap());
    let path = place.run.socket("late").unwrap();
    let armed = arrivals.arm(Awaited::Socket(path.clone())).unwrap();
    let (spec, _lines) = shell("sleep 1000");
    let process = launcher.spawn(spec).await.unwrap();
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    let mut wait = std::pin::pin!(armed.wait(&process, PATIENCE));
    // Bound only: a first attempt has failed after this.
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut wait).await.is_err());
    rustix::net::listen(&socket, 1).unwrap();
    assert!(wait.await.is_ok());
}
