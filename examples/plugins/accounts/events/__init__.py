"""Publishing events with the contract by hand: `proto/plugmesh/event/v1/event.proto`."""
