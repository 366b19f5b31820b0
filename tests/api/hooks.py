"""What schemathesis cannot know of the API: how the bytes of an upload are sent."""

import schemathesis


@schemathesis.serializer("application/offset+octet-stream", "application/octet-stream")
def octets(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
