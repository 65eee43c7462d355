"""TextService."""

from typing import Any

import grpc

from calculator.v1 import calculator_pb2, calculator_pb2_grpc
from pluginkit.context import Context
from pluginkit.gateway import Gateway
from pluginkit.in_flight import InFlight, counted
from text.v1 import text_pb2, text_pb2_grpc

MAX_LINES = 100


class Text(text_pb2_grpc.TextServiceServicer):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._max_length: int | None = None
        self.in_flight = InFlight()

    def configure(self, config: dict[str, Any]) -> None:
        self._max_length = config.get("max_length")

    @counted
    async def Uppercase(
        self, request: text_pb2.UppercaseRequest, context: Context
    ) -> text_pb2.UppercaseResponse:
        await self._check(request.text, context)
        return text_pb2.UppercaseResponse(text=request.text.upper())

    @counted
    async def Lowercase(
        self, request: text_pb2.LowercaseRequest, context: Context
    ) -> text_pb2.LowercaseResponse:
        await self._check(request.text, context)
        return text_pb2.LowercaseResponse(text=request.text.lower())

    @counted
    async def Reverse(
        self, request: text_pb2.ReverseRequest, context: Context
    ) -> text_pb2.ReverseResponse:
        await self._check(request.text, context)
        return text_pb2.ReverseResponse(text=request.text[::-1])

    @counted
    async def WordCount(
        self, request: text_pb2.WordCountRequest, context: Context
    ) -> text_pb2.WordCountResponse:
        await self._check(request.text, context)
        return text_pb2.WordCountResponse(words=len(request.text.split()))

    @counted
    async def WordTotal(
        self, request: text_pb2.WordTotalRequest, context: Context
    ) -> text_pb2.WordTotalResponse:
        if len(request.lines) > MAX_LINES:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"lines: {MAX_LINES} at most")
        total = 0.0
        for line in request.lines:
            await self._check(line, context)
            add = calculator_pb2.AddRequest(a=total, b=len(line.split()))
            stub = calculator_pb2_grpc.CalculatorServiceStub
            total = (await self._gateway.call(stub, "Add", add, context)).value
        return text_pb2.WordTotalResponse(words=int(total))

    async def _check(self, text: str, context: Context) -> None:
        if self._max_length is not None and len(text) > self._max_length:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the text has {len(text)} characters; {self._max_length} are allowed",
            )
