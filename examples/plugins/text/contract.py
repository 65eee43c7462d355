"""PluginService: what a host asks of a plugin."""

import asyncio
import json
import logging
import time

import grpc

from plugmesh.plugin.v1 import plugin_pb2, plugin_pb2_grpc

CONTRACT = "plugmesh.plugin"
VERSION = 1
CONFIG_SCHEMA = {
    "type": "object",
    "properties": {"max_length": {"type": "integer", "minimum": 1}},
    "additionalProperties": False,
}

log = logging.getLogger("text.contract")


class Contract(plugin_pb2_grpc.PluginServiceServicer):
    def __init__(self, text, gateway, services, serving, not_serving):
        self._text = text
        self._gateway = gateway
        self._services = services
        self._serving = serving
        self._not_serving = not_serving
        # The session of the host that owns this plugin, its phases so far, and the end of its lease.
        self._session = None
        self._managed = False
        self._last_phase = plugin_pb2.PHASE_UNSPECIFIED
        self._lease_ends = None
        self._highest_epoch = 0

    async def Handshake(self, request, context):
        offered = any(offer.contract == CONTRACT and VERSION in offer.versions for offer in request.contracts)
        # A host that speaks another version learns ours from the answer, and goes no further.
        if offered:
            await self._open(request, context)
        return plugin_pb2.HandshakeResponse(
            contracts=[plugin_pb2.ContractVersion(contract=CONTRACT, version=VERSION)],
            metadata=plugin_pb2.PluginMetadata(
                name="text",
                version="0.1.0",
                description="Changes and counts texts",
                author="plugmesh maintainers",
                labels={"lang": "python"},
                sdk="none, plain grpcio",
            ),
            services=self._services,
            config_schema_json=json.dumps(CONFIG_SCHEMA).encode(),
            # Only WordTotal calls it.
            dependencies=[plugin_pb2.Dependency(plugin="calculator", version_range="^0.1", optional=True)],
        )

    async def RunPhase(self, request, context):
        await self._check(request.session, context)
        if request.phase <= self._last_phase:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, "phases run in order, each once per session"
            )
        self._last_phase = request.phase
        if request.phase == plugin_pb2.PHASE_INIT:
            # The host has checked it against the schema.
            config = json.loads(request.config_json or b"null") or {}
            self._text.max_length = config.get("max_length")
            log.info("configured", extra={"fields": config})
        return plugin_pb2.RunPhaseResponse()

    async def Drain(self, request, context):
        await self._check(request.session, context)
        await self._not_serving()
        grace = request.grace.ToTimedelta().total_seconds() if request.HasField("grace") else None
        await self.drained(grace)
        return plugin_pb2.DrainResponse(in_flight=self._text.in_flight)

    async def drained(self, seconds):
        """Waits until nothing is in flight, for no longer than `seconds` if that is given."""
        try:
            await asyncio.wait_for(self._text.idle.wait(), seconds)
        except asyncio.TimeoutError:
            pass

    async def _open(self, request, context):
        session = request.session
        if not session.session_id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the session has no id")
        if session.epoch < self._highest_epoch:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"epoch {session.epoch} is over: this plugin has accepted epoch {self._highest_epoch}",
            )
        renewed = session == self._session
        other_host = self._session is not None and session.host_id != self._session.host_id
        if other_host and self._holds() and session.epoch == self._highest_epoch:
            if request.managed:
                await context.abort(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"host {self._session.host_id} manages this plugin: wait for its lease to end",
                )
            return
        if not renewed:
            self._last_phase = plugin_pb2.PHASE_UNSPECIFIED
            await self._serving()
        self._session = session
        self._managed = request.managed
        self._highest_epoch = session.epoch
        self._lease_ends = None
        if request.HasField("lease"):
            self._lease_ends = time.monotonic() + request.lease.ToTimedelta().total_seconds()
        await self._gateway.follow(request.callback)

    def _holds(self):
        return self._managed and (self._lease_ends is None or time.monotonic() < self._lease_ends)

    async def _check(self, session, context):
        """Aborts the call unless `session` is the current one and may run the lifecycle."""
        if session != self._session:
            reason = "this session is not, or no longer, the current one: a Handshake comes first"
        elif not self._holds():
            reason = "this session is not managed, or its lease has ended"
        else:
            return
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, reason)
