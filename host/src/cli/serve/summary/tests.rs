use plugmesh::admin::v1::{Instance, InstanceState, Method};

use super::*;
use crate::cli::args::Format;
use crate::cli::terminal::Captured;

fn plugin(name: &str, state: PluginState, message: &str, address: &str) -> Plugin {
    Plugin {
        name: name.into(),
        version: "1.2.0".into(),
        state: state.into(),
        wanted_instances: 1,
        ready_instances: 1,
        message: message.into(),
        services: vec![format!("{name}.v1.{name}Service")],
        instances: vec![Instance {
            state: InstanceState::Ready.into(),
            address: address.into(),
            ..Instance::default()
        }],
        ..Plugin::default()
    }
}

fn shown(ready: &Ready<'_>) -> String {
    let output = Captured::default();
    let mut terminal = Terminal::to(output.clone(), Captured::default(), Format::Table);
    ready.print(&mut terminal).unwrap();
    output.text()
}

#[test]
fn what_runs_and_what_to_do_next() {
    let plugins = [
        plugin("calculator", PluginState::Ready, "", "unix:///run/calculator-0.sock"),
        plugin("text", PluginState::Failed, "python3 was not found", ""),
    ];
    let ready = Ready {
        program: "plugmesh",
        gateway: &HostAddress::Unix("/run/mesh.sock".into()),
        is_default: true,
        plugins: &plugins,
        services: &[],
        example: Some(Example { method: "calculator.v1.Calculator/Add", request: r#"{"a": 1, "b": 2}"# }),
    };
    assert_eq!(
        shown(&ready),
        "\
NAME        VERSION  STATE   INSTANCES  SERVICES                         WHY
calculator  1.2.0    ready   1/1        calculator.v1.calculatorService  -
text        1.2.0    failed  1/1        text.v1.textService              python3 was not found

1 of 2 plugins ready · gateway at unix:///run/mesh.sock

In another terminal:
  plugmesh list                                                     # what is running
  plugmesh call calculator.v1.Calculator/Add -d '{\"a\": 1, \"b\": 2}'  # a call by JSON
  grpcurl -plaintext -unix /run/mesh.sock list                      # any gRPC client works
  grpcurl -plaintext -unix /run/calculator-0.sock list              # a plugin, directly
  plugmesh get text                                                 # why it failed

Ctrl-C drains the plugins and ends the host.
"
    );
}

#[test]
fn another_socket_is_named_in_every_command() {
    let service = Service {
        name: "a.v1.S".into(),
        methods: vec![
            Method { name: "Up".into(), client_streaming: true, ..Method::default() },
            Method { name: "Get".into(), ..Method::default() },
        ],
        ..Service::default()
    };
    let ready = Ready {
        program: "plugmesh",
        gateway: &HostAddress::Unix("/run/my mesh.sock".into()),
        is_default: false,
        plugins: &[],
        services: &[service],
        example: None,
    };
    let text = shown(&ready);
    assert!(text.starts_with("no plugins were found\n"), "{text}");
    assert!(text.contains("  plugmesh list --host 'unix:///run/my mesh.sock'   "), "{text}");
    assert!(
        text.contains("  plugmesh call a.v1.S/Get -d '{}' --host 'unix:///run/my mesh.sock'  # a call"),
        "{text}"
    );
    assert!(text.contains("  grpcurl -plaintext -unix '/run/my mesh.sock' list  "), "{text}");
}
