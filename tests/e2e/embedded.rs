//! The example of a program that links the host.

use std::process::Command;

use plugmesh_tests::{Ran, binary, processes_mentioning};

use crate::python::TEXT;
use crate::text;

#[tokio::test]
async fn it_calls_its_plugins_offers_a_service_and_leaves_nothing() {
    let home = tempfile::Builder::new().prefix("pm-").tempdir_in("/tmp").unwrap();
    text::calculator().write(&home.path().join("plugins"));
    let mut command = Command::new(binary("embedded"));
    command.env("XDG_RUNTIME_DIR", home.path()).arg(home.path().join("plugins"));
    let python = TEXT.built().await;
    if python.is_some() {
        command.arg(TEXT.directory());
    }
    let ran = Ran::of(&mut command).await;
    assert_eq!(ran.code, 0, "{ran:#?}");
    let mut expected = vec![
        "calculator: 19 + 23 = 42",
        "calculator: 1 / 0 is InvalidArgument: ",
        "calculator: fibonacci 0 1 1 2 3 5 8 13 21 34",
        "notes: app wrote \"all is well\"",
        "every plugin has ended",
    ];
    if python.is_some() {
        expected.extend(["text: plugmesh", "text: 5 words, added up by the calculator"]);
    }
    for line in expected {
        assert!(ran.out.contains(line), "{line:?} is not in {ran:#?}");
    }
    assert!(!ran.out.contains("not running"), "{ran:#?}");
    assert_eq!(processes_mentioning(home.path()), Vec::<u32>::new());
}
