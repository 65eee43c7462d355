//! What keeps a plugin, or the host itself, from starting at all.

use std::os::unix::fs::PermissionsExt;

use plugmesh::admin::v1::PluginState;
use plugmesh_tests::{Daemon, PluginDir, processes_mentioning};

use crate::scene::{Scene, hostile};

/// What a daemon said of what is wrong to a person; its log is JSON, a line each. Sorted, since the order in
/// which plugins fail is anybody's guess.
fn said(scene: &Scene) -> String {
    let log = scene.daemon.log();
    let is_well = |line: &&str| line.ends_with(": starting") || line.starts_with('✓');
    let mut entries: Vec<String> = Vec::new();
    for line in log.lines().filter(|line| !line.starts_with('{') && !is_well(line)) {
        match entries.last_mut() {
            // Later lines of an entry are indented.
            Some(entry) if line.starts_with(' ') => *entry += &format!("\n{line}"),
            _ => entries.push(line.to_owned()),
        }
    }
    entries.sort();
    scene.normalise(&entries.join("\n"))
}

#[tokio::test]
async fn requirements_that_are_missing_or_cyclic_are_reported_at_the_start() {
    let needs = |name: &str, what: &str| hostile(name).line(&format!("requires:\n{what}"));
    let builder = Daemon::builder()
        .plugin(needs("lonely", "  - plugin: calculatr"))
        .plugin(hostile("honest").line("version: 1.2.3"))
        .plugin(needs("outdated", "  - plugin: honest\n    version: ^99"))
        .plugin(needs("chicken", "  - plugin: egg"))
        .plugin(needs("egg", "  - plugin: hen"))
        .plugin(needs("hen", "  - plugin: chicken"))
        .plugin(needs("farmer", "  - plugin: hen"));
    let scene = Scene::of(builder).await;
    let said = said(&scene);
    assert_eq!(
        said,
        "\
✗ chicken: failed: plugins require each other in a circle: chicken → egg → hen → chicken; make one of the requirements optional, or remove it
✗ egg: failed: plugins require each other in a circle: chicken → egg → hen → chicken; make one of the requirements optional, or remove it
✗ farmer: failed: farmer requires hen, which cannot start
✗ hen: failed: plugins require each other in a circle: chicken → egg → hen → chicken; make one of the requirements optional, or remove it
✗ lonely: failed: lonely requires calculatr, which is not there; did you mean calculator?
✗ outdated: failed: outdated requires honest ^99, and 1.2.3 is there"
    );
    for name in ["lonely", "outdated", "chicken", "egg", "hen", "farmer"] {
        assert_eq!(scene.daemon.plugin(name).await.state(), PluginState::Failed);
    }
    scene.end().await;
}

#[tokio::test]
async fn of_two_plugins_of_one_name_the_first_runs_and_both_are_named() {
    let builder = Daemon::builder();
    let dir = builder.home().join("plugins/second");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("plugin.yaml"), "name: calculator\ncommand: ./never\n").unwrap();
    let scene = Scene::of(builder).await;
    assert_eq!(
        said(&scene),
        "HOME/plugins/second/plugin.yaml: the name calculator is taken by HOME/plugins/calculator/plugin.yaml, which \
         runs (rename one of them, or exclude it)"
    );
    // Nor can one be loaded later.
    let status = scene.load(&PluginDir::calculator(1)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::AlreadyExists);
    assert_eq!(
        status.message(),
        "there is a plugin calculator already; unload it first, or give this one another name"
    );
    scene.end().await;
}

#[tokio::test]
async fn bad_plugins_are_reported_at_the_start_and_cannot_write_to_the_terminal() {
    let builder = Daemon::builder()
        .plugin(hostile("phase-escapes"))
        .plugin(PluginDir::script("falls", "printf '\\033[2Jgone\\a' >&2; exit 3"));
    let scene = Scene::of(builder).await;
    assert_eq!(
        said(&scene),
        "✗ falls: failed: it exited with status 3 before it listened on \
         unix://HOME/run/plugmesh-*/falls-0-*.sock; its last lines were:\n      gone\u{fffd}\n\
         ✗ phase-escapes: failed: PHASE_INIT failed: INTERNAL: \\u{1b}[2Jgone\\nplugmesh: all is well\\u{7}"
    );
    scene.end().await;
}

/// Runs a host that must not start; nothing of it is left. Gives what it said.
async fn refused(prepare: impl FnOnce(&std::path::Path) -> String, code: i32) -> String {
    let builder = Daemon::builder().plugin(PluginDir::calculator(1));
    let home = builder.home().to_owned();
    let config = prepare(&home);
    let (ran, _dir) = builder.config(config).ended().await;
    assert_eq!(processes_mentioning(&home), Vec::<u32>::new());
    let left: Vec<_> =
        std::fs::read_dir(home.join("run")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.iter().all(|path| path.ends_with("plugmesh")), "{left:?}");
    let said = ran.failed(code);
    let lines = said.lines().filter(|line| !line.starts_with('{'));
    lines.collect::<Vec<_>>().join("\n").replace(&home.display().to_string(), "HOME")
}

#[tokio::test]
async fn a_run_directory_of_somebody_else_is_refused() {
    let beside = Scene::new().await;
    // Root gives a directory away; others take one that root has and nobody may write to.
    let is_root = rustix::process::geteuid().is_root();
    let foreign = refused(
        |home| {
            let dir = home.join("theirs");
            std::fs::create_dir(&dir).unwrap();
            if is_root {
                std::os::unix::fs::chown(&dir, Some(12_345), None).unwrap();
            }
            format!("run_dir: {}", if is_root { dir.display().to_string() } else { "/".into() })
        },
        1,
    );
    let foreign = foreign.await;
    if is_root {
        assert_eq!(
            foreign,
            "error: HOME/theirs belongs to user 12345, the host runs as 0; use a directory of that user"
        );
    } else {
        assert!(foreign.contains("cannot create /.plugmesh-new-"), "{foreign}");
    }
    let open = refused(
        |home| {
            let dir = home.join("open");
            std::fs::create_dir(&dir).unwrap();
            std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
            format!("run_dir: {}", dir.display())
        },
        1,
    );
    assert_eq!(
        open.await,
        "error: others may write to HOME/open (mode 0777) and replace the host's sockets; run `chmod go-w` on it or \
         set the sticky bit"
    );
    beside.end().await;
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_refused() {
    let beside = Scene::new().await;
    let long = refused(
        |home| {
            let dir = home.join("x".repeat(90));
            std::fs::create_dir(&dir).unwrap();
            format!("run_dir: {}", dir.display())
        },
        1,
    );
    let (long, name) = (long.await, "x".repeat(90));
    let told = long.split_once(&name).unwrap_or_else(|| panic!("{long}"));
    assert_eq!(told.0, "error: the socket path HOME/");
    let rest = "/xxxxxxxx.sock has 137 bytes, at most 107 are possible; choose a shorter run directory";
    assert!(told.1.starts_with("/plugmesh-") && told.1.ends_with(rest), "{long}");
    let long = refused(|home| format!("gateway:\n  unix: {}/{}.sock", home.display(), "x".repeat(100)), 1);
    assert_eq!(
        long.await.replace(&"x".repeat(100), "LONG"),
        "error: cannot listen on unix://HOME/LONG.sock: the path has 120 bytes; a socket's has 107 at most: choose a \
         shorter directory"
    );
    beside.end().await;
}

#[tokio::test]
async fn five_mistakes_of_a_configuration_are_told_at_once() {
    let beside = Scene::new().await;
    let yaml = "\
name: Not A Name
gateway:
  tcp:
    listen: nowhere
    insecure: true
drain_timeout: soon
max_message_size: 12 bananas
lgo:
  level: info
";
    let said = refused(|_| yaml.to_owned(), 1).await;
    assert_eq!(
        said,
        "\
error: HOME/plugins/plugmesh.yaml:1:7: name: \"Not A Name\" is not a name for a host (use 1 to 63 lower-case letters, digits and '-', starting with a letter)
    HOME/plugins/plugmesh.yaml:4:13: gateway.tcp.listen: \"nowhere\" is not an address to listen on (write IP:PORT, such as 127.0.0.1:7443 or [::]:7443)
    HOME/plugins/plugmesh.yaml:6:16: drain_timeout: \"soon\" is not a duration (write a number and a unit, such as 500ms, 30s or 1m 30s)
    HOME/plugins/plugmesh.yaml:7:19: max_message_size: \"12 bananas\" is not a size: write a whole number and a unit, such as 64MiB, 16KiB, 10MB or 512B
    HOME/plugins/plugmesh.yaml:8:1: unknown key \"lgo\" (did you mean log?)"
    );
    beside.end().await;
}
