//! What works without a host, and what happens when there is none.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use super::support::{Fake, Ran, plugmesh};

fn run(args: &[&str], place: &Path) -> Ran {
    Ran::of(plugmesh(args).output().unwrap(), place)
}

fn write(file: &Path, content: &str, mode: u32) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn no_host_says_how_to_start_one() {
    let base = tempfile::tempdir().unwrap();
    let socket = base.path().join("gateway.sock");
    let next = "  next: start one with `plugmesh serve DIR --gateway PLACE/gateway.sock`, or name another with --host or PLUGMESH_HOST\n";
    let missing = format!(
        "error: no host at unix://PLACE/gateway.sock\n  caused by: No such file or directory (os error 2)\n{next}"
    );
    run(&["list", "--host", socket.to_str().unwrap()], base.path()).failed(1, &missing);
    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let dead = format!(
        "error: no host at unix://PLACE/gateway.sock\n  caused by: Connection refused (os error 111)\n{next}"
    );
    run(&["list", "--host", socket.to_str().unwrap()], base.path()).failed(1, &dead);
}

#[test]
fn the_default_socket_is_that_of_the_user() {
    let base = tempfile::tempdir().unwrap();
    let list =
        || Ran::of(plugmesh(&["list"]).env("XDG_RUNTIME_DIR", base.path()).output().unwrap(), base.path());
    list().failed(
        1,
        "\
error: no host at unix://PLACE/plugmesh/gateway.sock
  caused by: No such file or directory (os error 2)
  next: start one with `plugmesh serve DIR`, or name another with --host or PLUGMESH_HOST
",
    );
    let directory = base.path().join("plugmesh");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    list().failed(
        1,
        "error: PLACE/plugmesh is open to other users (mode 777)\n  next: chmod 700 PLACE/plugmesh\n",
    );
}

#[test]
fn an_error_for_a_machine_is_json() {
    let base = tempfile::tempdir().unwrap();
    let socket = base.path().join("gateway.sock");
    let ran = run(&["list", "-o", "json", "--host", socket.to_str().unwrap()], base.path());
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(error["error"]["code"], serde_json::Value::Null);
    assert_eq!(
        error["error"]["message"],
        "no host at unix://PLACE/gateway.sock: No such file or directory (os error 2)"
    );
}

#[test]
fn an_https_host_needs_its_certificates() {
    let base = tempfile::tempdir().unwrap();
    run(&["list", "--host", "https://127.0.0.1:1"], base.path()).failed(
        2,
        "\
error: https://127.0.0.1:1 needs the certificate authority of the host
  next: say --ca FILE, and --cert FILE --key FILE when the host asks for a certificate
",
    );
}

#[test]
fn a_second_host_on_a_socket_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let lock = base.path().join("gateway.sock.lock");
    let held = std::fs::File::create(&lock).unwrap();
    std::fs::write(&lock, "pid 4711 since 2026-01-02T03:04:05Z\n").unwrap();
    held.lock().unwrap();
    let gateway = base.path().join("gateway.sock");
    let ran =
        run(&["serve", base.path().to_str().unwrap(), "--gateway", gateway.to_str().unwrap()], base.path());
    let start = "error: a host is already running at unix://PLACE/gateway.sock: process 4711, since 2026-01-02T03:04:05Z (";
    let next = "  next: end it with `plugmesh shutdown --host PLACE/gateway.sock`, or serve on another socket with --gateway PATH\n";
    assert!(ran.code == 1 && ran.err.starts_with(start) && ran.err.ends_with(next), "{}", ran.err);
}

#[test]
fn serve_refuses_what_it_cannot_serve() {
    let base = tempfile::tempdir().unwrap();
    let missing = base.path().join("missing");
    run(&["serve"], base.path()).failed(
        1,
        "error: nothing to serve\n  next: name a directory with plugins, as in `plugmesh serve plugins`, or a --config\n",
    );
    run(&["serve", missing.to_str().unwrap()], base.path()).failed(
        1,
        "error: PLACE/missing is no directory\n  next: a single manifest is started with `plugmesh load PATH`\n",
    );
    run(&["serve", "--config", missing.to_str().unwrap()], base.path())
        .failed(1, "error: PLACE/missing is no file\n");
}

#[test]
fn doctor_finds_what_keeps_plugins_from_starting() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    write(&at("a-good/plugin.yaml"), "name: good\nversion: 1.2.0\ncommand: ./run\nneeds: [sh]\n", 0o644);
    write(&at("a-good/run"), "#!/bin/sh\n", 0o755);
    write(&at("b-plain/plugin.yaml"), "name: plain\ncommand: ./run\nrequires: [good ^2, god]\n", 0o644);
    write(&at("b-plain/run"), "#!/bin/sh\n", 0o644);
    write(&at("c-bad/plugin.yaml"), "name: Bad\n", 0o644);
    write(
        &at("d-unbuilt/plugin.yaml"),
        "name: unbuilt\ncommand: ./out\nbuild:\n  command: cc\n  outputs: [out]\n",
        0o644,
    );
    write(&at("e-tool/plugin.yaml"), "name: tool\ncommand: no-such-tool\nneeds: [no-such-tool]\n", 0o644);
    write(&at(".hidden/plugin.yaml"), "nonsense", 0o644);
    let mut doctor = plugmesh(&["doctor", base.path().to_str().unwrap()]);
    let ran = Ran::of(doctor.env("PATH", "/bin").output().unwrap(), base.path());
    let expected = "\
good (PLACE/a-good/plugin.yaml)
  ✓ manifest     can be read
  ✓ tool         sh
  ✓ command      PLACE/a-good/run

plain (PLACE/b-plain/plugin.yaml)
  ✓ manifest     can be read
  ✗ command      PLACE/b-plain/run may not be executed (mode 0644); run `chmod +x PLACE/b-plain/run`
  ✗ requires     plain requires good ^2, and 1.2.0 is there
  ✗ requires     plain requires god, which is not there; did you mean good?

c-bad (PLACE/c-bad/plugin.yaml)
  ✗ manifest     PLACE/c-bad/plugin.yaml:1:1: command is missing
  ✗ manifest     PLACE/c-bad/plugin.yaml:1:7: name: \"Bad\" is not a plugin name: use 1 to 63 lower-case letters, digits and '-', starting with a letter and not ending with '-'

unbuilt (PLACE/d-unbuilt/plugin.yaml)
  ✓ manifest     can be read
  ! build        PLACE/d-unbuilt/out is not built yet
                 → `plugmesh serve` builds it at the first start

tool (PLACE/e-tool/plugin.yaml)
  ✓ manifest     can be read
  ✗ tool         no-such-tool is not on PATH
                 → install no-such-tool; until then the plugin is skipped
  ✗ command      no-such-tool is not on PATH
                 → install no-such-tool, or name the file with a path such as ./no-such-tool

5 plugins: something is wrong with 3
";
    assert_eq!((ran.code, ran.err.as_str(), ran.out.as_str()), (1, "", expected));
    let good = at("a-good");
    let ran = run(&["doctor", good.to_str().unwrap(), "-o", "json"], base.path());
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.code, 0);
    assert_eq!(answer["plugins"][0]["findings"][0]["verdict"], "fine");
}

#[test]
fn doctor_sees_circles_and_names_that_are_used_twice() {
    let base = tempfile::tempdir().unwrap();
    for (folder, name, requires) in [("1", "a", "b"), ("2", "b", "c"), ("3", "c", "a"), ("4", "c", "a")] {
        let manifest = format!("name: {name}\ncommand: /bin/sh\nrequires: [{requires}]\n");
        write(&base.path().join(folder).join("plugin.yaml"), &manifest, 0o644);
    }
    let ran = run(&["doctor", base.path().to_str().unwrap()], base.path());
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("  ✗ requires     plugins require each other in a circle: a → b → c → a; make one"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("  ✗ manifest     PLACE/3/plugin.yaml has the same name\n"), "{}", ran.out);
}

#[test]
fn doctor_needs_something_to_look_at() {
    let base = tempfile::tempdir().unwrap();
    let next = "  next: name a directory that holds plugins, each with its plugin.yaml\n";
    run(&["doctor", base.path().to_str().unwrap()], base.path())
        .failed(1, &format!("error: no plugin.yaml below PLACE\n{next}"));
    run(&["doctor", base.path().join("x").to_str().unwrap()], base.path())
        .failed(1, &format!("error: PLACE/x is neither a directory nor a manifest\n{next}"));
}

#[test]
fn completions_are_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions", shell], Path::new("/no/place"));
        assert!(ran.code == 0 && ran.err.is_empty() && ran.out.contains("plugmesh"), "{shell}");
    }
}

#[test]
fn exit_codes_are_documented() {
    let ran = run(&["exit-codes"], Path::new("/no/place"));
    assert!(ran.out.starts_with("CODE  MEANING\n0     done\n"), "{}", ran.out);
    assert!(ran.out.contains("\n67    gRPC status INVALID_ARGUMENT (3)\n"), "{}", ran.out);
    let documented = include_str!("../../../docs/cli.md");
    for line in ran.out.lines().skip(1) {
        let (code, meaning) = line.split_once(' ').unwrap();
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(documented.contains(&row), "docs/cli.md lacks: {row}");
    }
}

#[test]
fn wrong_usage_is_told_apart() {
    let ran = run(&["lst"], Path::new("/no/place"));
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("some similar subcommands exist: 'ls', 'list'"), "{}", ran.err);
    let ran = run(&["list", "--host", "tcp://a:1"], Path::new("/no/place"));
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("has a scheme that is not known"), "{}", ran.err);
    assert_eq!(run(&["--help"], Path::new("/no/place")).code, 0);
}

/// A pipe holds 64 KiB: what is printed is more, so that the reader leaves in the middle of it.
#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let fake = Fake::start();
    let mut child = fake
        .command(&["call", "demo.v1.Demo/Count", "-d", r#"{"value": 100000}"#])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn ctrl_c_has_an_exit_code_of_its_own() {
    let fake = Fake::start();
    let mut child = fake
        .command(&["call", "demo.v1.Demo/Echo", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // An answer proves that the command has come as far as listening for the signal.
    let mut said = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut said, b"{}").unwrap();
    let mut first = [0; 1];
    let mut heard = child.stdout.take().unwrap();
    heard.read_exact(&mut first).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
