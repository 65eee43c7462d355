"""JSON lines on stderr, which the host reads."""

import asyncio
import datetime
import json
import logging
import sys


class JsonLine(logging.Formatter):
    """One JSON object for each record; `extra={"fields": {...}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        line = {
            "timestamp": when.isoformat().replace("+00:00", "Z"),
            "level": record.levelname,
            "message": record.getMessage(),
            "target": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def is_no_cancellation(record: logging.LogRecord) -> bool:
    """gRPC logs a call that ends with its server as an error: it is none."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def start() -> None:
    """Logs like that from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("grpc._cython.cygrpc").addFilter(is_no_cancellation)
    # A log that nobody reads any more is no reason to fail.
    logging.raiseExceptions = False
