"""Calls that have begun and not ended: a plugin that is to end waits for them."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from .context import Context

Request = TypeVar("Request")
Response = TypeVar("Response")


class InFlight:
    """Counts them: each is a `with` block."""

    def __init__(self) -> None:
        self.count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        self.count += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if self.count == 0:
            self._idle.set()

    async def drained(self, seconds: float | None) -> None:
        """Waits until there are none, for no longer than `seconds` if that is given."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except asyncio.TimeoutError:
            pass


class Counting(Protocol):
    """A servicer that knows its calls."""

    in_flight: InFlight


def counted(
    method: Callable[[Any, Request, Context], Awaitable[Response]],
) -> Callable[[Any, Request, Context], Awaitable[Response]]:
    """Counts a call of a servicer's method as in flight until it has ended."""

    @functools.wraps(method)
    async def call(self: Counting, request: Request, context: Context) -> Response:
        with self.in_flight:
            return await method(self, request, context)

    return call
