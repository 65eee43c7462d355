"""Why an event is not published."""

import grpc

# Another try may fare better.
TRANSIENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

# grpcio knows codes by name only; the bus says them by number.
CODES = {code.value[0]: code for code in grpc.StatusCode}


class PublishError(Exception):
    """The event is not published as far as anybody knows."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_transient(self) -> bool:
        """Whether publishing the same event again may help."""
        return self.code in TRANSIENT


class Refused(PublishError):
    """The bus has said no."""

    @classmethod
    def by_number(cls, code: int, message: str) -> "Refused":
        return cls(CODES.get(code, grpc.StatusCode.UNKNOWN), message)


class Lost(PublishError):
    """Nobody knows: the stream was gone before the bus had answered."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, message)
