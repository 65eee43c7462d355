"""What a plugin says of itself in the handshake."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plugmesh.plugin.v1 import plugin_pb2


@dataclass(frozen=True)
class About:
    """Name and version must fit the manifest."""

    name: str
    version: str
    description: str
    # JSON Schema of its configuration, which the host checks before it hands it over.
    config_schema: Mapping[str, Any]
    dependencies: Sequence[plugin_pb2.Dependency] = ()
    capabilities: Sequence[plugin_pb2.Capability] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: {"lang": "python"})

    def response(self, services: Sequence[str]) -> plugin_pb2.HandshakeResponse:
        """The answer to a handshake, but for the versions of contracts."""
        return plugin_pb2.HandshakeResponse(
            metadata=plugin_pb2.PluginMetadata(
                name=self.name,
                version=self.version,
                description=self.description,
                author="plugmesh maintainers",
                labels=self.labels,
                sdk="none, plain grpcio",
            ),
            services=services,
            config_schema_json=json.dumps(self.config_schema).encode(),
            dependencies=self.dependencies,
            capabilities=self.capabilities,
        )
