"""One stream of the bus: what goes out on it, and what the bus says to that."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc

from plugmesh.cloudevents.v1.cloudevents_pb2 import CloudEvent
from plugmesh.event.v1 import event_pb2

from .errors import Lost, Refused

# Events that may wait for credit: about as many as calls may wait for them.
MAX_WAITING = 1024

# Bytes of events of one frame: what a connection writes at once. A larger event goes by itself.
FRAME_BYTES = 64 << 10

log = logging.getLogger("accounts.events")


@dataclass(frozen=True)
class Pending:
    """An event whose publisher waits for the bus."""

    event: CloudEvent
    ack: event_pb2.Ack
    answer: "asyncio.Future[event_pb2.EventResult]"

    def resolve(self, result: event_pb2.EventResult) -> None:
        # Who gave up waiting does not want to know.
        if self.answer.done():
            return
        if result.code == grpc.StatusCode.OK.value[0]:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(Refused.by_number(result.code, result.message))

    def lose(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(Lost(why))


class Stream:
    """The plugin's side of `EventSinkService.Attach`, from Hello to the end."""

    def __init__(self, name: str) -> None:
        self._name = name
        # What may be sent. There is no credit before the bus has said Welcome.
        self._limits = event_pb2.Limits()
        self._events = 0
        self._bytes = 0
        self._waiting: deque[Pending] = deque()
        # By the sequence of their frame, in its order.
        self._sent: dict[int, list[Pending]] = {}
        self._last_sequence = 0
        self._wake = asyncio.Event()
        self._ended = False
        self.is_draining = False

    @property
    def is_open(self) -> bool:
        """Whether it takes events."""
        return not self._ended and not self.is_draining

    async def publish(self, event: CloudEvent, ack: event_pb2.Ack) -> event_pb2.EventResult:
        """Sends an event when there is credit for it, and waits until the bus has answered.

        Raises Refused or Lost. One that is cancelled leaves it open whether the event is published.
        """
        if not self.is_open:
            raise Lost("the stream of events has ended")
        if len(self._waiting) >= MAX_WAITING:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WAITING} events wait for the event bus")
        answer: asyncio.Future[event_pb2.EventResult] = asyncio.get_running_loop().create_future()
        self._waiting.append(Pending(event, ack, answer))
        self._wake.set()
        return await answer

    async def frames(self) -> AsyncIterator[event_pb2.ClientFrame]:
        """What the host is to read, until the stream has ended."""
        yield event_pb2.ClientFrame(hello=event_pb2.Hello(name=self._name))
        while not self._ended:
            if publish := self._next_publish():
                yield event_pb2.ClientFrame(publish=publish)
            else:
                self._wake.clear()
                await self._wake.wait()

    def take(self, frame: event_pb2.BusFrame) -> None:
        """Reads what the bus says. A plugin that subscribes reads `delivery`, too; what it does not know it passes over."""
        match frame.WhichOneof("frame"):
            case "welcome":
                self._limits = frame.welcome.limits
                self._grant(frame.welcome.credit)
            case "credit" if frame.credit.subscription == 0:
                self._grant(frame.credit)
            case "published":
                self._published(frame.published)
            case "problem":
                self._problem(frame.problem)
            case "draining":
                # What was sent may still be answered, and nothing more is read.
                self.is_draining = True
                self._lose(self._waiting, "the event bus drains this stream")

    def end(self, why: str) -> None:
        """Nothing is sent or answered any more. Doing so twice changes nothing."""
        self._ended = True
        self._lose(self._waiting, why)
        for frame in self._sent.values():
            self._lose(frame, why)
        self._sent.clear()
        self._wake.set()

    def _grant(self, credit: event_pb2.Credit) -> None:
        self._events += credit.events
        self._bytes += credit.bytes
        self._wake.set()

    def _next_publish(self) -> event_pb2.Publish | None:
        """As many of the events that wait as go into one frame; None while there are none, or no credit."""
        frame: list[Pending] = []
        size = 0
        while self._waiting and self._events > 0 and self._bytes > 0:
            first = self._waiting[0]
            weight = first.event.ByteSize()
            if first.answer.done():
                # Its publisher has gone.
                self._waiting.popleft()
                continue
            if weight > self._limits.event_bytes:
                why = f"an event has {self._limits.event_bytes} bytes at most (events.max_event_size)"
                first.answer.set_exception(Refused(grpc.StatusCode.INVALID_ARGUMENT, why))
                continue
            is_full = len(frame) == self._limits.frame_events or size + weight > FRAME_BYTES
            if frame and (is_full or first.ack != frame[0].ack):
                break
            frame.append(self._waiting.popleft())
            size += weight
            self._events -= 1
            self._bytes -= weight
        if not frame:
            return None
        self._last_sequence += 1
        self._sent[self._last_sequence] = frame
        events = [pending.event for pending in frame]
        return event_pb2.Publish(events=events, sequence=self._last_sequence, ack=frame[0].ack)

    def _published(self, published: event_pb2.Published) -> None:
        # Only those of which there is something to say have a result.
        results = {result.index: result for result in published.results}
        for index, pending in enumerate(self._sent.pop(published.sequence, ())):
            pending.resolve(results.get(index, event_pb2.EventResult(index=index)))

    def _problem(self, problem: event_pb2.Problem) -> None:
        fields = {"code": problem.code, "problem": problem.message}
        log.warning("the event bus has a problem with this plugin", extra={"fields": fields})
        # About a frame as a whole, which gets no other answer.
        if problem.subscription == 0:
            for pending in self._sent.pop(problem.sequence, ()):
                pending.resolve(event_pb2.EventResult(code=problem.code, message=problem.message))

    @staticmethod
    def _lose(many: "deque[Pending] | list[Pending]", why: str) -> None:
        for pending in many:
            pending.lose(why)
        many.clear()
