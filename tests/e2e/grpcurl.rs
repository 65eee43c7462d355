//! The real grpcurl, and who may do what over which listener.

use plugmesh_tests::{Certificates, Daemon, Identity, PluginDir, Ran, tools};

const SERVICE: &str = "calculator.v1.CalculatorService";

async fn calculator(config: &str) -> Daemon {
    Daemon::builder().plugin(PluginDir::calculator(1)).config(config).start().await
}

/// List, describe and every kind of call, on one Unix socket.
async fn everything(socket: &std::path::Path) {
    let run = async |args: &[&str]| tools::grpcurl_unix(socket, args).await;
    for reflection in ["v1", "v1alpha"] {
        // With no version named grpcurl tries v1 first; this asks for the services of both.
        let listed = run(&["list"]).await.ok();
        let service = format!("grpc.reflection.{reflection}.ServerReflection");
        assert!(listed.contains(SERVICE) && listed.contains(&service), "{listed}");
    }
    let described = run(&["describe", SERVICE]).await.ok();
    assert!(described.contains("rpc Divide ( .calculator.v1.DivideRequest )"), "{described}");
    let add = format!("{SERVICE}/Add");
    assert_eq!(run(&["-d", r#"{"a": 1, "b": 2}"#, &add]).await.json()["value"], 3);
    let stream = run(&["-d", r#"{"count": 5}"#, &format!("{SERVICE}/Fibonacci")]).await.ok();
    assert_eq!(stream.matches('{').count(), 5, "{stream}");
    let bidi = run(&["-d", r#"{"value": 1} {"value": 2}"#, &format!("{SERVICE}/Accumulate")]).await.ok();
    assert!(bidi.contains("\"total\": 3"), "{bidi}");
    let error = run(&["-d", r#"{"a": 1}"#, &format!("{SERVICE}/Divide")]).await;
    assert_eq!(error.code, 64 + 3, "{error:#?}");
    assert!(
        error.err.contains("b: division by zero") && error.err.contains("InvalidArgument"),
        "{}",
        error.err
    );
    assert!(error.err.contains("Details:") && error.err.contains("google.rpc.BadRequest"), "{}", error.err);
    for service in ["", SERVICE] {
        let health = format!(r#"{{"service": "{service}"}}"#);
        let health = run(&["-d", &health, "grpc.health.v1.Health/Check"]).await.json();
        assert_eq!(health["status"], "SERVING");
    }
}

#[tokio::test]
async fn it_works_on_the_socket_of_a_plugin() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon = calculator("").await;
    let address = daemon.instance("calculator", 0).await.address;
    everything(std::path::Path::new(address.strip_prefix("unix://").unwrap())).await;
}

#[tokio::test]
async fn it_works_through_the_gateway() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon = calculator("").await;
    everything(&daemon.socket()).await;
}

#[tokio::test]
async fn the_commands_that_endpoint_prints_work() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon = calculator("").await;
    let printed = daemon.cli(&["endpoint", "calculator", "--output", "json"]).await.json();
    let commands = printed["commands"].as_array().unwrap().clone();
    assert!(commands.len() >= 3, "{printed:#}");
    for command in commands {
        let words = command.as_str().unwrap().strip_prefix("grpcurl ").unwrap();
        let script = format!("exec \"$0\" {words}");
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(&script).arg(tools::grpcurl().get_program());
        assert!(!Ran::of(&mut shell).await.ok().is_empty(), "{words}");
    }
}

/// A host that listens on TCP with mutual TLS, and files for two clients.
struct Secured {
    daemon: Daemon,
    certificates: Certificates,
    operator: Identity,
    guest: Identity,
}

async fn secured() -> Secured {
    let certificates = Certificates::new();
    let operator = certificates.issue("operator", "spiffe://example.org/operator");
    let guest = certificates.issue("guest", "spiffe://example.org/guest");
    Secured { daemon: calculator(&certificates.gateway()).await, certificates, operator, guest }
}

impl Secured {
    async fn grpcurl(&self, identity: Option<&Identity>, args: &[&str]) -> Ran {
        let mut command = tools::grpcurl();
        command.arg("-cacert").arg(self.certificates.ca()).args(["-connect-timeout", "10"]);
        if let Some(identity) = identity {
            command.arg("-cert").arg(&identity.cert).arg("-key").arg(&identity.key);
        }
        Ran::of(command.arg(self.daemon.tcp().await).args(args)).await
    }
}

#[tokio::test]
async fn mutual_tls_takes_those_with_a_certificate_only() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let secured = secured().await;
    let add = format!("{SERVICE}/Add");
    secured.grpcurl(Some(&secured.guest), &["list"]).await.ok();
    assert!(secured.grpcurl(Some(&secured.guest), &[&add]).await.json().is_object());
    let refused = secured.grpcurl(None, &["list"]).await;
    assert_ne!(refused.code, 0, "{refused:#?}");
    let other = Certificates::new();
    let stranger = other.issue("stranger", "spiffe://example.org/operator");
    let refused = secured.grpcurl(Some(&stranger), &["list"]).await;
    assert_ne!(refused.code, 0, "{refused:#?}");
}

#[tokio::test]
async fn over_tcp_only_listed_identities_administer() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let secured = secured().await;
    let list = ["plugmesh.admin.v1.AdminService/ListPlugins"];
    assert_eq!(
        secured.grpcurl(Some(&secured.operator), &list).await.json()["plugins"][0]["name"],
        "calculator"
    );
    let refused = secured.grpcurl(Some(&secured.guest), &list).await;
    assert_eq!(refused.code, 64 + 7, "{refused:#?}");
    let text =
        "spiffe://example.org/guest may not call AdminService: list it under `admin:` in plugmesh.yaml";
    assert!(refused.err.contains(text), "{}", refused.err);
}

#[tokio::test]
async fn plaintext_is_served_when_the_configuration_says_so_and_the_log_warns() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let daemon = calculator("gateway:\n  tcp:\n    listen: 127.0.0.1:0\n    insecure: true\n").await;
    let log = daemon.log();
    let warned = |line: &str| line.contains("\"WARN\"") && line.contains("listening without TLS");
    assert!(log.lines().any(warned), "{log}");
    let tcp = daemon.tcp().await;
    let run = async |symbol: &str| Ran::of(tools::grpcurl().arg("-plaintext").arg(&tcp).arg(symbol)).await;
    run(&format!("{SERVICE}/Add")).await.ok();
    let refused = run("plugmesh.admin.v1.AdminService/ListPlugins").await;
    assert_eq!(refused.code, 64 + 7, "{refused:#?}");
    assert!(refused.err.contains("AdminService needs an identity"), "{}", refused.err);
}
