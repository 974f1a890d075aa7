"""What is sent in a request, read within its limits."""

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request


def check_kind(request: Request, wanted: str) -> None:
    """Raise 415 for another type; pages of other sites cannot send any without asking (CORS)."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != wanted:
        raise HTTPException(415, f"sent as {kind or 'nothing'}: send {wanted}")


async def read_body(request: Request, wanted: str, most: int) -> bytes:
    """Return a body of a type of at most ``most`` bytes; raises 415, 413, or 400 when cut off."""
    check_kind(request, wanted)
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise HTTPException(413, f"what was sent is too large: send at most {most} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the connection ended before all was sent") from None
    return body
