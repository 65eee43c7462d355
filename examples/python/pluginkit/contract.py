"""PluginService: what a host asks of a plugin."""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import grpc

from plugmesh.plugin.v1 import plugin_pb2, plugin_pb2_grpc

from .about import About
from .context import Context
from .gateway import Gateway
from .in_flight import InFlight

CONTRACT = "plugmesh.plugin"
VERSION = 1

log = logging.getLogger("plugin.contract")


class Service(Protocol):
    """What a plugin is there for."""

    in_flight: InFlight

    def configure(self, config: dict[str, Any]) -> None:
        """Takes the configuration, which fits the schema."""


class Contract(plugin_pb2_grpc.PluginServiceServicer):
    """One session at a time, with the host that owns this plugin."""

    def __init__(
        self,
        about: About,
        service: Service,
        names: Sequence[str],
        gateway: Gateway,
        set_serving: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._about = about
        self._service = service
        self._names = names
        self._gateway = gateway
        self._set_serving = set_serving
        # The session of the host that owns this plugin, its phases so far, and the end of its lease.
        self._session: plugin_pb2.Session | None = None
        self._managed = False
        self._last_phase: int = plugin_pb2.PHASE_UNSPECIFIED
        self._lease_ends: float | None = None
        self._highest_epoch = 0

    async def Handshake(
        self, request: plugin_pb2.HandshakeRequest, context: Context
    ) -> plugin_pb2.HandshakeResponse:
        offered = any(offer.contract == CONTRACT and VERSION in offer.versions for offer in request.contracts)
        # A host that speaks another version learns ours from the answer, and goes no further.
        if offered:
            await self._open(request, context)
        response = self._about.response(self._names)
        response.contracts.add(contract=CONTRACT, version=VERSION)
        return response

    async def RunPhase(
        self, request: plugin_pb2.RunPhaseRequest, context: Context
    ) -> plugin_pb2.RunPhaseResponse:
        await self._check(request.session, context)
        if request.phase <= self._last_phase:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, "phases run in order, each once per session"
            )
        self._last_phase = request.phase
        if request.phase == plugin_pb2.PHASE_INIT:
            # The host has checked it against the schema.
            config = json.loads(request.config_json or b"null") or {}
            self._service.configure(config)
            log.info("configured", extra={"fields": config})
        return plugin_pb2.RunPhaseResponse()

    async def Drain(
        self, request: plugin_pb2.DrainRequest, context: Context
    ) -> plugin_pb2.DrainResponse:
        await self._check(request.session, context)
        await self._set_serving(False)
        grace = request.grace.ToTimedelta().total_seconds() if request.HasField("grace") else None
        await self._service.in_flight.drained(grace)
        return plugin_pb2.DrainResponse(in_flight=self._service.in_flight.count)

    async def _open(
        self, request: plugin_pb2.HandshakeRequest, context: Context
    ) -> None:
        session = request.session
        if not session.session_id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the session has no id")
        if session.epoch < self._highest_epoch:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"epoch {session.epoch} is over: this plugin has accepted epoch {self._highest_epoch}",
            )
        owner = self._session.host_id if self._session is not None else session.host_id
        if session.host_id != owner and self._holds() and session.epoch == self._highest_epoch:
            if request.managed:
                await context.abort(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"host {owner} manages this plugin: wait for its lease to end",
                )
            return
        if session != self._session:
            self._last_phase = plugin_pb2.PHASE_UNSPECIFIED
            await self._set_serving(True)
        self._session = session
        self._managed = request.managed
        self._highest_epoch = session.epoch
        self._lease_ends = None
        if request.HasField("lease"):
            self._lease_ends = time.monotonic() + request.lease.ToTimedelta().total_seconds()
        await self._gateway.follow(request.callback)

    def _holds(self) -> bool:
        return self._managed and (self._lease_ends is None or time.monotonic() < self._lease_ends)

    async def _check(self, session: plugin_pb2.Session, context: Context) -> None:
        """Aborts the call unless `session` is the current one and may run the lifecycle."""
        if session != self._session:
            reason = "this session is not, or no longer, the current one: a Handshake comes first"
        elif not self._holds():
            reason = "this session is not managed, or its lease has ended"
        else:
            return
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, reason)
