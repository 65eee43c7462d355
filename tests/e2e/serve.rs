//! `plugmesh serve` as a person meets it.

use plugmesh_tests::calculator::AddRequest;
use plugmesh_tests::{Daemon, Leaks, Neighbour, PluginDir, processes_mentioning};

#[tokio::test]
async fn a_directory_is_served_and_the_next_steps_are_printed() {
    let daemon = Daemon::builder().plugin(PluginDir::calculator(2)).start().await;
    let answer = daemon.calculator().add(AddRequest { a: 1.0, b: 2.0 }).await.unwrap();
    assert_eq!(answer.into_inner().value, 3.0);

    let neighbour = Neighbour::of(&daemon).await;
    let leaks = Leaks::of(&daemon).await;
    leaks.back_to(&daemon).await;
    assert!(neighbour.finish().await > 0);

    let summary = daemon.process().out();
    let socket = daemon.socket();
    assert!(
        summary.contains(&format!("1 of 1 plugin ready · gateway at unix://{}", socket.display())),
        "{summary}"
    );
    assert!(summary.contains("plugmesh list"), "{summary}");
    let home = daemon.home().to_owned();
    assert_eq!(daemon.stop().await.code, 0);
    assert_eq!(processes_mentioning(&home), Vec::<u32>::new());
}
