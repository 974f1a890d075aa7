"""A Pipecat bot with a face: open http://127.0.0.1:7860, and it speaks what is typed.

    pip install 'lipstream[pipecat,serve]' && python examples/pipecat_bot.py

A bot of your own has its speech recognition, language model and synthesis before the avatar.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import uvicorn
from pipecat.frames.frames import (
    Frame,
    InputTransportMessageFrame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.workers.runner import WorkerRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from lipstream.speech import SpeechSettings, open_voice
from lipstream_clients.integrations import AvatarEngine
from lipstream_clients.integrations.pipecat import AvatarProcessor, stamp_pictures_by_the_clock

RATE = 24_000
PAGE = """<!doctype html><title>A bot with a face</title>
<video id=avatar autoplay playsinline></video>
<form><input name=text autofocus placeholder="Say something"><button>Say</button>
<button type=button id=hush>Interrupt</button></form>
<script type=module>
const peer = (window.peer = new RTCPeerConnection());
const stream = new MediaStream();
const video = (window.avatar = document.getElementById("avatar"));
video.srcObject = stream;
const sound = peer.addTransceiver("audio", { direction: "sendrecv" });
peer.addTransceiver("video", { direction: "sendrecv" });
const channel = (window.channel = peer.createDataChannel("signalling"));
peer.ontrack = ({ track }) => stream.addTrack(track);

silenceInterrupted(channel, sound.receiver);
await peer.setLocalDescription(await peer.createOffer());
await new Promise((done) => {
  if (peer.iceGatheringState === "complete") done();
  peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
});
const { sdp, type } = peer.localDescription;
const answer = await fetch("/offer", { method: "POST", body: JSON.stringify({ sdp, type }) });
await peer.setRemoteDescription(await answer.json());
window.say = (text) => channel.send(JSON.stringify({ type: "say", text }));
window.hush = () => channel.send(JSON.stringify({ type: "hush" }));
document.forms[0].onsubmit = (event) => {
  event.preventDefault();
  say(event.target.text.value);
};
document.getElementById("hush").onclick = hush;

// A browser holds sound against jitter. An interruption silences that, too: until the next reply,
// and until all it held of the last one would have been heard.
function silenceInterrupted(channel, receiver) {
  let [interruptions, held] = [0, null];
  channel.addEventListener("message", async ({ data }) => {
    const { type } = JSON.parse(data);
    if (type === "bot-interrupted") {
      interruptions += 1;
      receiver.track.enabled = false;
      held = drained(receiver);
    } else if (type === "bot-started-speaking") {
      const before = interruptions;
      await held;
      if (interruptions === before) receiver.track.enabled = true;
    }
  });
}
async function drained(receiver) {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const sound = async () =>
    [...(await receiver.getStats()).values()].find((one) => one.type === "inbound-rtp");
  const before = await sound();
  await wait(100);
  const after = await sound();
  const seconds = after.jitterBufferDelay - before.jitterBufferDelay;
  const samples = after.jitterBufferEmittedCount - before.jitterBufferEmittedCount;
  await wait((1000 * seconds) / Math.max(samples, 1));
}
</script>"""


class TypedSpeech(FrameProcessor):
    """Speaks what the page sends: in the place of a synthesis behind a language model."""

    def __init__(self) -> None:
        super().__init__()
        self._voice = open_voice(SpeechSettings())

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take the page's messages."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, InputTransportMessageFrame):
            await self.push_frame(frame, direction)
        elif frame.message.get("type") == "hush":
            await self.push_frame(InterruptionFrame())
        elif frame.message.get("type") == "say":
            await self.push_frame(TTSStartedFrame())
            for chunk in await asyncio.to_thread(list, self._voice.say(frame.message["text"])):
                sound = chunk.pcm.tobytes()
                await self.push_frame(TTSAudioRawFrame(sound, self._voice.rate, 1))
            await self.push_frame(TTSStoppedFrame())


async def run_bot(connection: SmallWebRTCConnection, engine: AvatarEngine) -> None:
    """Run the pipeline of one visitor until they go."""
    transport = SmallWebRTCTransport(
        connection,
        TransportParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_10ms_chunks=2,
            video_out_enabled=True,
            video_out_width=engine.avatar.width,
            video_out_height=engine.avatar.height,
        ),
    )
    bot = Pipeline([transport.input(), TypedSpeech(), AvatarProcessor(engine), transport.output()])
    worker = PipelineWorker(bot, params=PipelineParams(audio_out_sample_rate=RATE))

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(*_: Any) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


def make_app(engine: AvatarEngine) -> Starlette:
    """Return a page, and what answers its offer."""
    running: set[asyncio.Task[None]] = set()

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    async def offer(request: Request) -> Response:
        connection = SmallWebRTCConnection()
        await connection.initialize(**await request.json())
        task = asyncio.create_task(run_bot(connection, engine), name="bot")
        running.add(task)
        task.add_done_callback(running.discard)
        return JSONResponse(connection.get_answer())

    return Starlette(routes=[Route("/", page), Route("/offer", offer, methods=["POST"])])


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--port", type=int, default=7860)
    arguments = parser.parse_args()
    stamp_pictures_by_the_clock()
    with AvatarEngine.open(arguments.avatar, model=arguments.model, capacity=4) as engine:
        uvicorn.run(make_app(engine), port=arguments.port)


if __name__ == "__main__":
    main()
