"""AccountsService."""

import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from accounts.v1 import accounts_pb2, accounts_pb2_grpc
from events.bus import Bus
from events.errors import PublishError
from events.event import json_event
from pluginkit.context import Context, trace_of
from pluginkit.in_flight import InFlight, counted
from plugmesh.cloudevents.v1.cloudevents_pb2 import CloudEvent
from plugmesh.event.v1 import event_pb2

MAX_LENGTH = 256
MAX_SESSIONS = 10_000

# How long a call tries to publish. Of its deadline a part is kept for the answer, which says more than DEADLINE_EXCEEDED.
PUBLISH_SECONDS = 10.0
SHARE_OF_DEADLINE = 0.9

SOURCE = "/accounts"
ACKS = {
    "best": event_pb2.ACK_UNSPECIFIED,
    "accepted": event_pb2.ACK_ACCEPTED,
    "durable": event_pb2.ACK_DURABLE,
}

# What a caller of ours can make sense of. Whatever else the bus says is about what we sent, and not about the call.
OF_THE_BUS = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
)


@dataclass
class Session:
    user: str
    # For the ids of its events. Not what the user has: events are for everybody to read.
    name: str = field(default_factory=lambda: str(uuid.uuid4()))
    began: float = field(default_factory=time.monotonic)
    # Of the first SignOut: one that comes again says, and publishes, the same.
    seconds: int | None = None
    logout: CloudEvent | None = None


class Accounts(accounts_pb2_grpc.AccountsServiceServicer):
    """Sessions live in this process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._ack: event_pb2.Ack = event_pb2.ACK_UNSPECIFIED
        self._sessions: dict[str, Session] = {}
        self.in_flight = InFlight()

    def configure(self, config: dict[str, Any]) -> None:
        self._ack = ACKS[config.get("ack", "best")]

    @counted
    async def SignIn(
        self, request: accounts_pb2.SignInRequest, context: Context
    ) -> accounts_pb2.SignInResponse:
        if not 1 <= len(request.user) <= MAX_LENGTH:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"user: 1 to {MAX_LENGTH} characters")
        if len(request.address) > MAX_LENGTH:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"address: {MAX_LENGTH} characters at most")
        if len(self._sessions) >= MAX_SESSIONS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_SESSIONS} sessions are open")
        token, session = secrets.token_urlsafe(), Session(request.user)
        data = {"user": session.user, **({"address": request.address} if request.address else {})}
        # Before it is published, so that there are no more than may be; nobody knows its token yet.
        self._sessions[token] = session
        try:
            await self._publish(_event("user.login", session, data, context), context)
        except BaseException:
            del self._sessions[token]
            raise
        return accounts_pb2.SignInResponse(session=token)

    @counted
    async def SignOut(
        self, request: accounts_pb2.SignOutRequest, context: Context
    ) -> accounts_pb2.SignOutResponse:
        session = self._sessions.get(request.session)
        if session is None:
            return await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such session, or no longer")
        if session.seconds is None or session.logout is None:
            session.seconds = int(time.monotonic() - session.began)
            data = {"user": session.user, "seconds": session.seconds}
            session.logout = _event("user.logout", session, data, context)
        await self._publish(session.logout, context)
        # Not sooner: until the bus has it, the caller may come again.
        self._sessions.pop(request.session, None)
        return accounts_pb2.SignOutResponse(seconds=session.seconds)

    async def _publish(self, event: CloudEvent, context: Context) -> None:
        """Publishes an event, or ends the call with what is in the way."""
        left = context.time_remaining()
        within = PUBLISH_SECONDS if left is None else min(PUBLISH_SECONDS, SHARE_OF_DEADLINE * left)
        try:
            await self._bus.publish(event, self._ack, within)
        except PublishError as error:
            code = error.code if error.code in OF_THE_BUS else grpc.StatusCode.INTERNAL
            await context.abort(code, f"{event.type} is not published: {error}")


def _event(topic: str, session: Session, data: Mapping[str, Any], context: Context) -> CloudEvent:
    return json_event(
        topic,
        id=f"{session.name}/{topic}",
        source=SOURCE,
        subject=session.user,
        data=data,
        trace=trace_of(context),
    )
