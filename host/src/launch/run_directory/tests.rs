use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn base() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn create(base: &Path) -> Result<RunDirectory, RunDirectoryError> {
    RunDirectory::create(&BaseSearch::only(base))
}

fn instance() -> (InstanceName, InstanceId) {
    (InstanceName::new("calculator".parse().unwrap(), 0), InstanceId::random())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn it_is_private_and_goes_when_dropped() {
    let base = base();
    let run = create(base.path()).unwrap();
    assert_eq!(mode(run.path()), 0o700);
    let (name, id) = instance();
    let files = run.instance(&name, &id).unwrap();
    let secret = files.write("key.pem", b"secret").unwrap();
    assert_eq!((mode(files.path()), mode(&secret)), (0o700, 0o600));
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert!(files.write("key.pem", b"again").is_err());
    assert!(matches!(files.write("../x", b""), Err(RunDirectoryError::FileName(_))));
    fs::write(files.socket(), "").unwrap();
    drop(files);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1, "only the lock is left");
    drop(run);
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}

#[test]
fn an_instance_outlives_the_handle() {
    let base = base();
    let run = create(base.path()).unwrap();
    let (name, id) = instance();
    let files = run.instance(&name, &id).unwrap();
    drop(run);
    files.write("a", b"").unwrap();
}

#[test]
fn long_names_are_cut_and_long_bases_refused() {
    let base = base();
    let plugin = "p".repeat(crate::name::MAX_PLUGIN_NAME).parse().unwrap();
    let name = InstanceName::new(plugin, 7);
    let deep = base.path().join("d".repeat(60 - base.path().as_os_str().len()));
    fs::create_dir(&deep).unwrap();
    let run = create(&deep).unwrap();
    let files = run.instance(&name, &InstanceId::random()).unwrap();
    assert_eq!(files.socket().as_os_str().len(), MAX_SOCKET_PATH);
    assert!(std::os::unix::net::UnixListener::bind(files.socket()).is_ok());

    let deeper = base.path().join("d".repeat(90));
    fs::create_dir(&deeper).unwrap();
    let error = create(&deeper).unwrap_err();
    let RunDirectoryError::TooLong { path, length, limit } = &error else { panic!("{error}") };
    assert!(path.starts_with(&deeper));
    assert_eq!((*length, *limit), (path.as_os_str().len(), MAX_SOCKET_PATH));
    assert!(error.to_string().contains("choose a shorter run directory"), "{error}");
    assert_eq!(fs::read_dir(&deeper).unwrap().count(), 0);
}

#[test]
fn a_base_that_does_not_suit_is_passed_over() {
    let good = base();
    let variable = |name: &str| match name {
        "XDG_RUNTIME_DIR" => Some(OsString::from("/nowhere")),
        _ => Some(good.path().as_os_str().to_owned()),
    };
    let run = RunDirectory::create(&BaseSearch::new(variable)).unwrap();
    assert!(run.path().starts_with(good.path()));
}

#[test]
fn a_base_open_to_others_is_refused() {
    let base = base();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = create(base.path()).unwrap_err();
    assert!(matches!(error, RunDirectoryError::OpenToOthers { mode: 0o777, .. }), "{error}");
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    create(base.path()).unwrap();
}

#[test]
fn a_base_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a directory away");
        return;
    }
    let base = base();
    let theirs = base.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    let link = base.path().join("link");
    symlink(base.path(), &link).unwrap();
    for path in [&theirs, &link] {
        std::os::unix::fs::lchown(path, Some(65534), None).unwrap();
    }
    let error = create(&theirs).unwrap_err();
    assert!(matches!(error, RunDirectoryError::NotOurs { owner: 65534, .. }), "{error}");
    let error = create(&link).unwrap_err();
    assert!(matches!(error, RunDirectoryError::ForeignLink { owner: 65534, .. }), "{error}");
}

#[test]
fn a_base_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(create(file.path()), Err(RunDirectoryError::NotADirectory { .. })));
}

#[test]
fn what_dead_hosts_left_is_swept_and_the_living_stay() {
    let base = base();
    let living = create(base.path()).unwrap();
    let dead = base.path().join("plugmesh-deadbeef");
    make_private(&dead).unwrap();
    fs::write(dead.join(LOCK), "").unwrap();
    fs::create_dir(dead.join("x")).unwrap();
    let unrelated = base.path().join("plugmesh-notes");
    make_private(&unrelated).unwrap();
    let open = base.path().join("plugmesh-open");
    make_private(&open).unwrap();
    fs::write(open.join(LOCK), "").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let target = tempfile::tempdir().unwrap();
    fs::write(target.path().join(LOCK), "").unwrap();
    symlink(target.path(), base.path().join("plugmesh-link")).unwrap();

    let other = create(base.path()).unwrap();
    assert!(!dead.exists());
    for kept in [living.path(), other.path(), &unrelated, &open, &target.path().join(LOCK)] {
        assert!(kept.exists(), "{}", kept.display());
    }
}
