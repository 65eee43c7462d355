//! What all faults share: a host with a healthy neighbour, and what must be left of it in the end.

use plugmesh::admin::v1::{LoadPluginRequest, PluginState, UnloadPluginRequest};
use plugmesh_tests::{Daemon, Leaks, Neighbour, PluginDir, binary};
use tonic::{Code, Status};

/// A running host with a calculator under calls, and what it held before anything went wrong.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    neighbour: Neighbour,
    before: Leaks,
}

/// The hostile plugin in one of its modes. It has to be ready soon, so that a fault is not waited for.
pub(crate) fn hostile(mode: &str) -> PluginDir {
    PluginDir::command(mode, binary("hostile"))
        .line(&format!("args: [{mode}]\nstart_timeout: {START_TIMEOUT}"))
}

/// As manifests and messages write it: long for a program that starts, short for a test that waits.
pub(crate) const START_TIMEOUT: &str = "2s";

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::of(Daemon::builder()).await
    }

    /// Adds the calculator to what is described.
    pub(crate) async fn of(builder: plugmesh_tests::DaemonBuilder) -> Self {
        let daemon = builder.plugin(PluginDir::calculator(1)).start().await;
        let neighbour = Neighbour::of(&daemon).await;
        let before = Leaks::of(&daemon).await;
        Self { daemon, neighbour, before }
    }

    /// Loads a plugin as an operator does.
    pub(crate) async fn load(&self, plugin: &PluginDir) -> Result<(), Status> {
        let manifest = self.daemon.write(plugin).display().to_string();
        self.daemon.admin().load_plugin(LoadPluginRequest { manifest }).await.map(drop)
    }

    pub(crate) async fn unload(&self, name: &str) {
        let unloaded = self.daemon.admin().unload_plugin(UnloadPluginRequest { name: name.into() }).await;
        unloaded.unwrap_or_else(|status| panic!("{name}: {status}"));
    }

    /// Loads plugins that must not start, all at once, and compares why: ABORTED, with `NAME did not start: `
    /// before the text given, where paths are as [`Self::normalise`] makes them and `{*}` stands for anything.
    pub(crate) async fn refuses(&self, faults: Vec<(PluginDir, &str)>) {
        let refused = faults.iter().map(|(plugin, expected)| async move {
            let found = self.refused(plugin).await;
            let expected = format!("{} did not start: {expected}", plugin.name());
            let fits = found.0 == Code::Aborted && matches(&expected, &found.1);
            (!fits).then(|| format!("expected {expected}\n   found {found:?}"))
        });
        let wrong: Vec<_> = futures_util::future::join_all(refused).await.into_iter().flatten().collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Loads a plugin that must not start, and gives why. The same must stand in the list of plugins.
    pub(crate) async fn refused(&self, plugin: &PluginDir) -> (Code, String) {
        let name = plugin.name();
        let loaded = tokio::time::timeout(plugmesh_tests::DEADLINE / 2, self.load(plugin)).await;
        let Ok(loaded) = loaded else { panic!("{name}: its start has no end") };
        let status = loaded.expect_err(name);
        let shown = self.daemon.plugin(name).await;
        assert_eq!(shown.state(), PluginState::Failed, "{shown:#?}");
        assert!(status.message().ends_with(&shown.message), "{status:?} is not {:?}", shown.message);
        self.unload(name).await;
        (status.code(), self.normalise(status.message()))
    }

    /// Writes `HOME` for the directory of the daemon and `*` for what is random in names below it.
    pub(crate) fn normalise(&self, text: &str) -> String {
        // Times differ from run to run.
        let text = match text.rfind("\n  so far: ") {
            Some(at) => &text[..at],
            None => text,
        };
        let text = text.replace(&self.daemon.home().display().to_string(), "HOME");
        let text = text.replace(&binary("hostile").display().to_string(), "hostile");
        let starred = text.split("/plugmesh-").enumerate().map(|(at, part)| match at {
            0 => part.to_owned(),
            _ => format!("/plugmesh-*{}", part.get(8..).unwrap_or_default()),
        });
        let text = starred.collect::<String>();
        let pieces: Vec<_> = text.split(".sock").collect();
        let (last, pieces) = pieces.split_last().expect("at least one");
        let starred = pieces.iter().map(|piece| match piece.len().checked_sub(8) {
            Some(at) if piece[at..].bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                format!("{}*", &piece[..at])
            }
            _ => (*piece).to_owned(),
        });
        starred.map(|piece| piece + ".sock").collect::<String>() + last
    }

    /// Nothing is left of what went wrong, and the neighbour has not noticed.
    pub(crate) async fn end(self) {
        self.before.back_to(&self.daemon).await;
        assert!(self.neighbour.finish().await > 0);
        let ran = self.daemon.stop().await;
        assert_eq!(ran.code, 0, "{ran:#?}");
    }
}

fn matches(expected: &str, found: &str) -> bool {
    match expected.split_once("{*}") {
        None => expected == found,
        Some((before, after)) => found.starts_with(before) && found.ends_with(after),
    }
}
