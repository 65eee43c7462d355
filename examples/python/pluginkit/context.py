"""The call that a method of a servicer answers."""

from typing import Any

import grpc

# Each method says for itself what it takes and gives.
Context = grpc.aio.ServicerContext[Any, Any]

# What a call hands on to what is done for it.
TRACE = ("traceparent", "tracestate")


def trace_of(context: Context) -> dict[str, str]:
    """The W3C trace context that a call came with."""
    metadata = context.invocation_metadata() or ()
    return {key: str(value) for key, value in metadata if key in TRACE}
