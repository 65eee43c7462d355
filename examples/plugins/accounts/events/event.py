"""CloudEvents in their protobuf format."""

import datetime
import json
from collections.abc import Mapping
from typing import Any

from plugmesh.cloudevents.v1.cloudevents_pb2 import CloudEvent


def json_event(
    topic: str, *, id: str, source: str, subject: str, data: Mapping[str, Any], trace: Mapping[str, str]
) -> CloudEvent:
    """An event of this moment. `source` and `id` together tell it from all others: publish it again with the same.

    `trace` is the W3C trace context of what caused it, in which its handlers go on.
    """
    event = CloudEvent(id=id, source=source, spec_version="1.0", type=topic, text_data=json.dumps(data))
    texts = {
        "datacontenttype": "application/json",
        "subject": subject,
        # Events of one subject stay in order also where several share the work.
        "partitionkey": subject,
        **trace,
    }
    for name, text in texts.items():
        event.attributes[name].ce_string = text
    event.attributes["time"].ce_timestamp.FromDatetime(datetime.datetime.now(datetime.timezone.utc))
    return event
