//! Examples below the help of `events` and what is behind it.

pub(crate) const EVENTS: &str = "\
Examples:
  plugmesh events publish order.placed -d '{\"order\": 7}'
  plugmesh events tail 'order.>'
  plugmesh events replay 'order.*' --from 15m
  plugmesh events dlq list
  plugmesh events stats --watch";

pub(crate) const PUBLISH: &str = "\
Examples:
  plugmesh events publish order.placed -d '{\"order\": 7}'
  plugmesh events publish order.placed -d @order.json --partition-key customer-3 --ack durable
  plugmesh events publish user.login --source /shop/web --subject ada -a region=eu
  plugmesh events publish logo.changed --data-file logo.png --content-type image/png
  plugmesh events publish order.placed --id 4711 -d @ -o json | jq .duplicate

Exit code 64 + a gRPC status when the host refuses it; 1 when a handler gave it up (--ack handled).";

pub(crate) const TAIL: &str = "\
Examples:
  plugmesh events tail 'order.>'
  plugmesh events tail 'user.*' 'order.*' --filter source^=/shop --filter '!test'
  plugmesh events tail 'order.>' --from 15m
  plugmesh events tail order.placed -n 1 | jq .data

One line for each event on a terminal, the JSON format of CloudEvents elsewhere and with -o json.
What it is too slow for is dropped, which is told on standard error; with --from nothing is.";

pub(crate) const REPLAY: &str = "\
Examples:
  plugmesh events replay 'order.>'
  plugmesh events replay 'order.>' --from 2026-01-31T12:00:00Z -n 100
  plugmesh events replay order.placed --from 1h --filter subject=ada
  plugmesh events replay 'order.>' --from place:4711 -o json | jq -c .event.data";

pub(crate) const DLQ: &str = "\
Examples:
  plugmesh events dlq list --subscription billing
  plugmesh events dlq show 3
  plugmesh events dlq redrive 3 4
  plugmesh events dlq redrive --subscription billing
  plugmesh events dlq purge --subscription billing --yes
  plugmesh events dlq list -o json | jq -c '.letters[] | [.id, .reason, .event.data]'";

pub(crate) const STATS: &str = "\
Examples:
  plugmesh events stats
  plugmesh events stats --watch
  plugmesh events stats -o json | jq '.subscriptions[] | {name, lag, queued}'";

pub(crate) const FORGET: &str = "\
Examples:
  plugmesh events forget billing";
