use super::*;

#[test]
fn a_host_file_with_five_mistakes_reports_all_five() {
    let text = "\
name: Host!
gateway:
  tcp: {listen: localhost, insecure: true}
drain_timout: 30s
max_message_size: 64 parsec
plugins:
  calculator:
    instances: 0
";
    assert_eq!(
        host(text).unwrap_err().to_string(),
        "\
/etc/plugmesh.yaml:1:7: name: \"Host!\" is not a name for a host (use 1 to 63 lower-case letters, digits and '-', starting with a letter)
/etc/plugmesh.yaml:3:17: gateway.tcp.listen: \"localhost\" is not an address to listen on (write IP:PORT, such as 127.0.0.1:7443 or [::]:7443)
/etc/plugmesh.yaml:4:1: unknown key \"drain_timout\" (did you mean drain_timeout?)
/etc/plugmesh.yaml:5:19: max_message_size: \"64 parsec\" is not a size: write a whole number and a unit, such as 64MiB, 16KiB, 10MB or 512B
/etc/plugmesh.yaml:8:16: plugins.calculator.instances: 0 is out of range: 1 to 64"
    );
}

#[test]
fn every_value_of_a_manifest_is_checked() {
    let text = "\
name: [a]
version: 1.2
command: {linux/amd64: '', solaris: b, darwin/z80: c}
args: [1, two, ~]
env: {PLUGMESH_X: a, 9: b, OK: '${env:NONE}', L: []}
build: {command: make, sources: [/abs, 'a**'], outputs: x}
instances: 65
transport: tpc
config: {a: .inf, b: 99999999999999999999, c: ['${x}']}
start_timeout: 30
drain_timeout: 2 fortnights
services: [acme v1, a.B]
requires: [calc ^x, UPPER, {version: 1}, {plugin: a, versoin: '1'}]
balance: least_requests
max_message_size: 0
enabled: 'yes'
on_host_death: {keep: 30s}
needs: [/bin/sh]
";
    assert_eq!(
        faults(manifest(text)),
        [
            "1:7: name: expected text, found a list",
            "2:10: version: expected text, found a number (put it in quotes)",
            "3:24: command.linux/amd64: an empty command",
            "3:28: command: unknown platform \"solaris\" (such as linux/amd64, linux or default)",
            "3:40: command: unknown processor in \"darwin/z80\" (such as amd64 or arm64)",
            "4:8: args[0]: expected text, found a number (put it in quotes)",
            "4:16: args[2]: expected text, found nothing",
            "5:7: env: PLUGMESH_X is the host's to set: names that start with PLUGMESH_ are reserved",
            "5:22: env: \"9\" is not a name for a variable: use letters, digits and '_'",
            "5:32: env.OK: the environment variable \"NONE\" is not set (write $${ for a plain ${)",
            "5:50: env.L: expected text, found a list",
            "6:34: build.sources[0]: sources are relative to the manifest's folder",
            "6:40: build.sources[1]: ** stands for whole segments, as in src/**/*.rs",
            "6:57: build.outputs: expected a list, found text",
            "7:12: instances: 65 is out of range: 1 to 64",
            "8:12: transport: \"tpc\" is not one of unix, tcp (did you mean tcp?)",
            "9:13: config.a: JSON has no infinity and no NaN",
            "9:22: config.b: an integer beyond 64 bits (put it in quotes to pass it as text)",
            "9:48: config.c[0]: the reference \"${x}\" is not one of ${env:NAME} and ${file:PATH} (write $${ for a plain ${)",
            "10:16: start_timeout: expected a duration, found a number (write a number and a unit, such as 500ms, 30s or 1m 30s)",
            "11:16: drain_timeout: \"2 fortnights\" is not a duration (write a number and a unit, such as 500ms, 30s or 1m 30s)",
            "12:12: services[0]: \"acme v1\" is not the name of a service (write it fully qualified, such as acme.billing.v1.InvoiceService)",
            "13:12: requires[0]: \"^x\" is not a range of SemVer versions: unexpected character 'x' while parsing major version number (such as ^1.2, \">=1.2, <3\" or *)",
            "13:21: requires[1]: \"UPPER\" is not a plugin name: use 1 to 63 lower-case letters, digits and '-', starting with a letter and not ending with '-'",
            "13:28: requires[2]: plugin is missing",
            "13:38: requires[2].version: expected text, found a number (put it in quotes)",
            "13:54: requires[3]: unknown key \"versoin\" (did you mean version?)",
            "14:10: balance: \"least_requests\" is not one of round_robin, random, weighted_random, least_request, peak_ewma, consistent_hash, least_latency, least_connections (did you mean least_request?)",
            "15:19: max_message_size: 0 is out of range: 1KiB to 4294967295B",
            "16:10: enabled: expected true or false, found text (without quotes)",
            "17:16: on_host_death: keep is reserved for a later version: only kill is taken now",
            "18:9: needs[0]: \"/bin/sh\" is not a tool's name (such as python3)",
        ]
    );
}

#[test]
fn duplicates_and_missing_keys_are_told() {
    assert_eq!(
        faults(manifest("version: 1.0.0\nversion: 1.0.1\nenv: {A: a, A: b}\n")),
        [
            "1:1: name is missing",
            "1:1: command is missing",
            "2:1: duplicate key \"version\" (it is first given in line 1)",
            "3:13: duplicate key \"A\" (it is first given in line 3)",
        ]
    );
}

#[test]
fn a_platform_without_a_command_is_told_what_there_is() {
    assert_eq!(
        faults(manifest("name: a\ncommand: {darwin/arm64: a, windows: b}")),
        [
            "2:10: command: no command for linux/x86_64 (it has macos/aarch64, windows; add linux/x86_64 or default)"
        ]
    );
    assert_eq!(
        faults(manifest("name: a\ncommand: {linux/amd64: a, linux/x86_64: b}")),
        ["2:27: command: linux/x86_64 is given twice, under two names"]
    );
}

#[test]
fn every_value_of_a_host_file_is_checked() {
    let text = "\
trust_domain: Example.org
log: {level: 'a=b=c', format: jsn}
admin: {identities: [spiffe://x, spiffe://a/b]}
gateway:
  limits: {connections: -1, header_list_size: 2MiB, idle_timeout: 0s, resets: 3}
  tcp: {listen: '127.0.0.1:1'}
plugins:
  directories: plugins
  include: ['']
  Bad_Name: {}
  a: {manifest: p, endpoints: [http://10.0.0.1:80, ftp://x], instances: 2, env: {A: b}}
  b: {endpoints: [https://a:1]}
  c: {endpoints: [https://a:1, unix://rel], tls: {ca: x, cert: y, server_name: 'a b', spiffe_id: spiffe://a/b}}
  d: {endpoints: []}
  e: {tls: {ca: a, cert: b, key: c}}
  f: {command: x}
";
    assert_eq!(
        faults(host(text)),
        [
            "1:15: trust_domain: \"Example.org\" is not a trust domain: a trust domain is made of lower-case letters, digits, '.', '-' and '_', without a port or a user",
            "2:14: log.level: \"a=b=c\" is not a log level (off, error, warn, info, debug, trace, or directives such as info,plugmesh_host::gateway=debug)",
            "2:31: log.format: \"jsn\" is not one of auto, text, json (did you mean json?)",
            "3:22: admin.identities[0]: \"spiffe://x\" is not a SPIFFE ID: the trust domain is followed by a path, as in spiffe://example.org/a",
            "5:25: gateway.limits.connections: -1 is out of range: 1 to 1000000",
            "5:47: gateway.limits.header_list_size: 2MiB is out of range: 1KiB to 1MiB",
            "5:67: gateway.limits.idle_timeout: 0s is out of range: 1ms to 1day",
            "5:71: gateway.limits: unknown key \"resets\" (did you mean resets_per_connection?)",
            "6:8: gateway.tcp: neither tls nor insecure: true is given (add tls with cert, key and client_ca, or insecure: true for plaintext that anybody may use)",
            "8:16: plugins.directories: expected a list, found text",
            "9:13: plugins.include[0]: an empty pattern matches nothing",
            "10:3: plugins: \"Bad_Name\" is not a plugin name: use 1 to 63 lower-case letters, digits and '-', starting with a letter and not ending with '-'",
            "11:7: plugins.a: manifest and endpoints are both given (keep one of them)",
            "11:32: plugins.a.endpoints[0]: \"http://10.0.0.1:80\": plaintext is taken on a loopback address only, use https:// with tls",
            "11:52: plugins.a.endpoints[1]: \"ftp://x\": not an endpoint: write unix:///path, http://127.0.0.1:PORT or https://HOST:PORT",
            "11:62: plugins.a: instances does not go with endpoints (each endpoint is one instance)",
            "11:76: plugins.a: env does not go with endpoints (the host does not start the plugin)",
            "12:19: plugins.b.endpoints[0]: \"https://a:1\": https:// needs tls with ca, cert and key",
            "13:32: plugins.c.endpoints[1]: \"unix://rel\": the socket path must be absolute, as in unix:///run/plugin.sock",
            "13:50: plugins.c.tls: key is missing",
            "13:80: plugins.c.tls.server_name: not a DNS name",
            "13:87: plugins.c.tls: server_name and spiffe_id are both given (keep one of them)",
            "14:18: plugins.d.endpoints: an empty list",
            "15:7: plugins.e: tls goes with endpoints only (a plugin that the host starts gets certificates from it)",
            "16:7: plugins.f: unknown key \"command\"",
        ]
    );
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    for (text, place) in
        [("a: [1,\nb", "2:"), ("a: b: c", "1:"), ("a: &x [*x]", "1:"), ("- a\n---\n- b", "2:")]
    {
        let found = faults(manifest(text));
        assert!(found.iter().any(|fault| fault.starts_with(place)), "{text:?}: {found:?}");
    }
    let read = Manifest::parse(b"name: a\nb: \xff", Path::new("p.yaml"), &context(LINUX));
    assert_eq!(faults(read), ["2:4: not UTF-8 text"]);
    assert_eq!(faults(manifest("[a]")), ["1:1: expected a mapping, found a list"]);
    assert_eq!(
        faults(manifest("name: a\ncommand: a\nlabels: {[a]: b}")),
        ["3:10: a key must be text, not a list"]
    );
    let missing = Manifest::load(Path::new("/none/plugin.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("/none/plugin.yaml: cannot be read: "), "{missing}");
}
