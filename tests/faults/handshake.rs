//! Handshakes, schemas and start phases.

use plugmesh::admin::v1::PluginState;

use crate::scene::{Scene, hostile};

#[tokio::test]
async fn a_handshake_that_breaks_the_contract_is_refused() {
    let scene = Scene::new().await;
    let faults = [
        (
            "handshake-other-version",
            "its handshake was refused: it chose version 7 of the contract plugmesh.plugin, and this host speaks [1]; use a host or an SDK of a release that both share",
        ),
        (
            "handshake-empty",
            "its handshake was refused: it chose no version of the contract plugmesh.plugin, and this host speaks [1]; use a host or an SDK of a release that both share",
        ),
        (
            "handshake-other-name",
            "its handshake was refused: it calls itself \"somebody-else\", and its manifest handshake-other-name; make the two names equal",
        ),
        (
            "handshake-terminal-name",
            "its handshake was refused: it calls itself \"\\u{1b}[2J\\u{7}gone\\nplugmesh: all is well\", and its manifest handshake-terminal-name; make the two names equal",
        ),
        (
            "handshake-bad-semver",
            "its handshake was refused: its version \"latest\" is not a SemVer version such as 1.2.3: unexpected character 'l' while parsing major version number",
        ),
        (
            "handshake-capability",
            "its handshake was refused: it requires the capability \"teleport\", which this host does not know; use a newer host, or a plugin without",
        ),
        (
            "handshake-bad-dependency",
            "its handshake was refused: its dependency \"text\" is malformed: unexpected character 'n' while parsing major version number; a range is written as ^1.2",
        ),
        (
            "handshake-bad-service",
            "its handshake was refused: it names a service \"not a service\\n\"; gRPC services are named package.Service",
        ),
        (
            "handshake-long-description",
            "its handshake was refused: the description is larger than the contract allows (5000 over 4096); shorten it",
        ),
        (
            "handshake-100mb",
            "its handshake was refused: the answer is larger than 1048576 bytes; keep large data out of it",
        ),
        ("handshake-unauthenticated", "it refused the handshake: UNAUTHENTICATED: who are you?"),
        (
            "handshake-bad-message",
            "it refused the handshake: UNKNOWN: Error deserializing status message header: invalid utf-8 sequence of 1 bytes from index 3",
        ),
        (
            "handshake-hangs",
            "it accepts connections but did not answer the handshake within 2s; look at its log, or raise start_timeout if it needs longer",
        ),
    ];
    scene.refuses(faults.map(|(mode, text)| (hostile(mode), text)).into()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_schema_that_is_none_or_is_not_met_is_refused() {
    let scene = Scene::new().await;
    let strict = hostile("schema-strict").line("config: {port: 70000, password: secret, colour: red}");
    let faults = [
        (
            "schema-no-json",
            "the JSON Schema is not JSON: EOF while parsing a value at line 1 column 9; correct config_schema_json in its handshake",
        ),
        (
            "schema-no-schema",
            "the JSON Schema is not valid at /type: \"nonsense\" is not valid under any of the schemas listed in the 'anyOf' keyword; correct config_schema_json in its handshake",
        ),
        (
            "schema-remote",
            "the JSON Schema is not valid at /$ref: only references within the schema, \"#/…\", are followed; correct config_schema_json in its handshake",
        ),
        (
            "schema-cyclic",
            "the JSON Schema is not valid: checking this configuration against it could take too long; correct config_schema_json in its handshake",
        ),
        (
            "schema-deep",
            "the JSON Schema is not JSON: recursion limit exceeded at line 1 column 890; correct config_schema_json in its handshake",
        ),
    ];
    let faults = faults.map(|(mode, text)| (hostile(mode), text)).into_iter();
    scene.refuses(faults.chain([(strict, "the configuration does not fit the plugin's JSON Schema: /password: the value is shorter than 99 characters; /port: the value is greater than the maximum of 65535; /: Additional properties are not allowed ('colour' was unexpected); /: \"user\" is a required property; correct `config` in plugin.yaml or plugmesh.yaml")]).collect()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_start_phase_that_fails_hangs_or_kills_is_named() {
    let scene = Scene::new().await;
    let faults = [
        ("phase-fails", "PHASE_INIT failed: FAILED_PRECONDITION: the database is not there"),
        ("phase-hangs", "PHASE_INIT did not end within 2s; look at its log for what it waits for"),
        ("phase-dies", "it was killed by SIGABRT before it was ready; it last wrote:\n  about to fall over"),
    ];
    scene.refuses(faults.map(|(mode, text)| (hostile(mode), text)).into()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_requirement_of_the_handshake_that_is_not_met_is_shown() {
    let scene = Scene::new().await;
    let name = "handshake-missing-dependency";
    scene.load(&hostile(name)).await.unwrap();
    let plugin = scene.daemon.plugin(name).await;
    assert_eq!(plugin.state(), PluginState::Ready);
    let required = &plugin.requires[0];
    assert_eq!((&*required.plugin, &*required.version_range, required.satisfied), ("nobody", "^2", false));
    let warning = "its handshake says that it requires nobody ^2, and there is no such plugin; calls to that one \
                   will fail";
    scene.daemon.logged(warning).await;
    scene.unload(name).await;
    scene.end().await;
}
