//! Examples below the help of each command. A test parses every line of them.

pub(super) mod events;

pub(super) const TOP: &str = "\
A first minute:
  plugmesh serve examples          # start the plugins below examples/, stay in the foreground
  plugmesh list                    # in another terminal: what is running
  plugmesh services                # what can be called
  plugmesh call calculator.v1.CalculatorService/Add -d '{\"a\": 1, \"b\": 2}'

Which host: --host, else PLUGMESH_HOST, else the default socket of this user.
Exit codes: 0 done, 1 failed, 2 wrong usage, 64 + code a gRPC status; see `plugmesh exit-codes`.";

pub(super) const SERVE: &str = "\
Examples:
  plugmesh serve examples                         # every plugin below a directory
  plugmesh serve --config plugmesh.yaml
  plugmesh serve plugins --gateway /run/mesh.sock

Ctrl-C drains the plugins and ends the host.";

pub(super) const STATUS: &str = "\
Examples:
  plugmesh status
  plugmesh status --host https://mesh.example:7443 --ca ca.pem --cert me.pem --key me.key";

pub(super) const HEALTH: &str = "\
Examples:
  plugmesh health
  plugmesh health calculator
  plugmesh health -o json | jq -r .message

The exit code is 0 when all is well, 3 when it is degraded, 4 when it is unhealthy or not known.";

pub(super) const LIST: &str = "\
Examples:
  plugmesh list
  plugmesh list -o json | jq '.plugins[] | select(.state != \"PLUGIN_STATE_READY\") | .name'";

pub(super) const GET: &str = "\
Examples:
  plugmesh get calculator
  plugmesh get calculator -o json";

pub(super) const WATCH: &str = "\
Examples:
  plugmesh watch
  plugmesh watch calculator
  plugmesh watch -o json | jq --unbuffered .plugin.state";

pub(super) const CALL: &str = "\
Examples:
  plugmesh call calculator.v1.CalculatorService/Add -d '{\"a\": 1, \"b\": 2}'
  plugmesh call CalculatorService.Add -d '{\"a\": 1, \"b\": 2}'
  plugmesh call CalculatorService/Add --example           # what a request looks like
  plugmesh call CalculatorService/Add -d @request.json --deadline 5s -v
  plugmesh call CalculatorService/Accumulate              # a stream: type a JSON message a line
  plugmesh call CalculatorService/Accumulate -d @ -o json | jq .total
  plugmesh call CalculatorService/Add --plugin calculator --instance calculator-0 -H 'x-user: ada'

A gRPC status ends the command with exit code 64 + its number: see `plugmesh exit-codes`.";

pub(super) const SERVICES: &str = "\
Examples:
  plugmesh services
  plugmesh services --methods";

pub(super) const ENDPOINT: &str = "\
Examples:
  plugmesh endpoint calculator
  plugmesh endpoint calculator -o json | jq -r '.commands[0]' | sh";

pub(super) const LOGS: &str = "\
Examples:
  plugmesh logs calculator
  plugmesh logs calculator -f -n 0
  plugmesh logs calculator -o json | jq -r .line";

pub(super) const ATTACH: &str = "\
Examples:
  plugmesh attach calculator unix:///tmp/calculator.sock
  plugmesh attach calculator http://127.0.0.1:50051";

pub(super) const DRAIN: &str = "\
Examples:
  plugmesh drain calculator
  plugmesh drain calculator --instance calculator-1 --grace 10s

Exit code 1 when calls were still in flight at the end of the grace time.";

pub(super) const LOAD: &str = "\
Examples:
  plugmesh load plugins/calculator
  plugmesh load plugins/calculator/plugin.yaml";

pub(super) const UNLOAD: &str = "\
Examples:
  plugmesh unload calculator";

pub(super) const RELOAD: &str = "\
Examples:
  plugmesh reload calculator

When the new instances do not get ready, the old ones stay and the error says why.";

pub(super) const ENABLE: &str = "\
Examples:
  plugmesh enable calculator";

pub(super) const DISABLE: &str = "\
Examples:
  plugmesh disable calculator";

pub(super) const EXPLAIN: &str = "\
Examples:
  plugmesh explain calculator.v1.CalculatorService
  plugmesh explain calculator.v1.CalculatorService/Add --plugin calculator";

pub(super) const SHUTDOWN: &str = "\
Examples:
  plugmesh shutdown
  plugmesh shutdown --grace 30s
  plugmesh shutdown --no-wait";

pub(super) const DOCTOR: &str = "\
Examples:
  plugmesh doctor
  plugmesh doctor examples
  plugmesh doctor plugins/calculator/plugin.yaml -o json

Nothing is built or started. Exit code 1 when something is wrong.";

pub(super) const CONFIG: &str = "\
Examples:
  plugmesh config check examples
  plugmesh config check --config plugmesh.yaml --plugin calculator --all
  plugmesh config check examples -o json

Nothing is built or started. Exit code 1 when something is wrong.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  plugmesh completions bash > ~/.local/share/bash-completion/completions/plugmesh
  plugmesh completions zsh > ~/.zfunc/_plugmesh
  plugmesh completions fish > ~/.config/fish/completions/plugmesh.fish";

pub(super) const EXIT_CODES: &str = "\
Examples:
  plugmesh exit-codes
  plugmesh exit-codes -o json";
