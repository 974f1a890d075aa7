"""Say a text on a stage of a running server, and push that stage or record it.

lipstream serve --recordings recordings
python examples/broadcast.py "Good evening." --push rtmp://live.example.org/app/KEY
python examples/broadcast.py "Good evening." --record evening.mp4
"""

import argparse
import asyncio
import json
import os
import sys
import urllib.error
import urllib.request

from lipstream_clients.stage_client import StageClient


def begin_output(server: str, stage: str, order: dict[str, str], token: str | None) -> str:
    """Begin an output; return its address. Raises urllib.error.HTTPError when it is refused."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    where, body = f"{server}/stages/{stage}/outputs", json.dumps(order).encode()
    with urllib.request.urlopen(urllib.request.Request(where, body, headers)) as answer:
        return f"{server}{answer.headers['Location']}"


async def broadcast(arguments: argparse.Namespace, token: str | None) -> None:
    """Begin the output, speak, and end it once all was heard."""
    order = {"push": arguments.push} if arguments.push else {"record": arguments.record}
    async with StageClient(arguments.server, arguments.stage, token=token) as stage:
        output = await asyncio.to_thread(
            begin_output, arguments.server, arguments.stage, order, token
        )
        await asyncio.sleep(1)  # it connects
        await stage.speak(arguments.text, name="broadcast")
        async for event in stage:
            if event["type"] == "error":
                raise SystemExit(event["message"])
            if event["type"] == "ended":
                break
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    end = urllib.request.Request(output, headers=headers, method="DELETE")
    await asyncio.to_thread(urllib.request.urlopen, end)


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--push", metavar="URL")
    where.add_argument("--record", metavar="NAME")
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--stage", default="main")
    arguments = parser.parse_args()
    try:
        asyncio.run(broadcast(arguments, os.environ.get("LIPSTREAM_TOKEN")))
    except urllib.error.HTTPError as error:
        sys.stderr.write(f"refused: {json.loads(error.read())['error']}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
