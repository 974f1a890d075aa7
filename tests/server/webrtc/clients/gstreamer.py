"""GStreamer's webrtcbin as a WHEP or WHIP client: URL ROLE CODEC SECONDS; prints JSON.

Runs under the system's Python, which has GStreamer's bindings.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

OPUS = "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000"
PICTURES = {
    "VP8": "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000",
    "H264": "application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000,"
    "packetization-mode=(string)1,profile-level-id=(string)42e01f",
}
READERS = {
    "audio": "rtpopusdepay ! opusdec ! fakesink name=end signal-handoffs=true sync=false",
    "VP8": "rtpvp8depay ! vp8dec ! fakesink name=end signal-handoffs=true sync=false",
    "H264": "rtph264depay ! avdec_h264 ! fakesink name=end signal-handoffs=true sync=false",
}
SOUND = (
    "audiotestsrc is-live=true freq=200 wave=saw volume=0.4 ! audioconvert ! audioresample"
    " ! opusenc ! rtpopuspay pt=97 ! capsfilter caps=application/x-rtp,media=(string)audio,"
    "encoding-name=(string)OPUS,payload=(int)97"
)
CAMERA = (
    "videotestsrc is-live=true ! video/x-raw,width=640,height=480,framerate=30/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=800 key-int-max=60"
    " ! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1 pt=96"
    " ! capsfilter caps=application/x-rtp,media=(string)video,encoding-name=(string)H264,"
    "payload=(int)96"
)
SETTLE_SECONDS, PATIENCE_SECONDS = 0.5, 20
AUTHORIZATION = {"Authorization": f"Bearer {os.environ['TOKEN']}"} if "TOKEN" in os.environ else {}


class Client:
    """One session, from its offer to its end."""

    def __init__(self, url: str, role: str, codec: str, seconds: float) -> None:
        self.url, self.role, self.codec, self.seconds = url, role, codec, seconds
        self.loop, self.pipeline = GLib.MainLoop(), Gst.Pipeline.new()
        self.webrtc = Gst.ElementFactory.make("webrtcbin")
        self.webrtc.set_property("bundle-policy", "max-bundle")
        self.pipeline.add(self.webrtc)
        self.times: dict[str, list[float]] = {"audio": [], "video": []}
        self.result = {"state": "new", "status": 0, "first_s": None, "fps": 0.0, "sound": 0}
        self.place, self.offered, self.kept = "", False, []
        if role == "whip":
            self.send(SOUND)
            if codec != "none":
                self.send(CAMERA)
        else:
            for caps in (OPUS, PICTURES[codec]):
                way = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
                self.webrtc.emit("add-transceiver", way, Gst.Caps.from_string(caps))
        self.webrtc.connect("pad-added", self.read)
        self.webrtc.connect("on-negotiation-needed", self.offer)
        self.webrtc.connect("notify::ice-gathering-state", lambda *_: GLib.idle_add(self.post))
        self.webrtc.connect("notify::connection-state", self.connected)

    def send(self, description: str) -> None:
        source = Gst.parse_bin_from_description(description, True)
        self.pipeline.add(source)
        source.link(self.webrtc)

    def read(self, _, pad) -> None:
        if pad.direction != Gst.PadDirection.SRC:
            return
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        reader = READERS["audio" if kind == "audio" else self.codec]
        decoder = Gst.parse_bin_from_description(reader, True)
        end = decoder.get_by_name("end")
        end.connect("handoff", lambda *_: self.times[kind].append(time.monotonic()))
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def offer(self, *_) -> None:
        promise = Gst.Promise.new_with_change_func(self.offered_by)
        self.webrtc.emit("create-offer", None, promise)

    def offered_by(self, promise, *_) -> None:
        promise.wait()
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.kept += [promise, reply, offer]  # freed too early otherwise
        self.webrtc.emit("set-local-description", offer, Gst.Promise.new())

    def post(self) -> None:
        gathered = self.webrtc.get_property("ice-gathering-state").value_nick == "complete"
        if not gathered or self.offered:
            return
        self.offered = True
        sdp = self.webrtc.get_property("local-description").sdp.as_text()
        request = urllib.request.Request(
            f"{self.url}/{self.role}",
            sdp.encode(),
            {"Content-Type": "application/sdp"} | AUTHORIZATION,
        )
        with urllib.request.urlopen(request) as answer:
            self.result["status"], self.place = answer.status, answer.headers["Location"]
            _, message = GstSdp.SDPMessage.new_from_text(answer.read().decode())
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        description = GstWebRTC.WebRTCSessionDescription.new(kind, message)
        self.webrtc.emit("set-remote-description", description, Gst.Promise.new())

    def connected(self, *_) -> None:
        self.result["state"] = self.webrtc.get_property("connection-state").value_nick
        if self.result["state"] == "connected":
            wait = self.seconds + SETTLE_SECONDS
            GLib.timeout_add(int(wait * 1000), self.loop.quit)

    def run(self) -> None:
        begun = time.monotonic()
        GLib.timeout_add_seconds(PATIENCE_SECONDS, self.loop.quit)
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        pictures = self.times["video"]
        if len(pictures) > 1:
            self.result["first_s"] = pictures[0] - begun
            steady = [at for at in pictures if at > pictures[0] + SETTLE_SECONDS]  # after a burst
            self.result["fps"] = (len(steady) - 1) / (steady[-1] - steady[0])
        self.result["sound"] = len(self.times["audio"])
        if self.place:
            place = urllib.parse.urljoin(f"{self.url}/{self.role}", self.place)
            request = urllib.request.Request(place, None, AUTHORIZATION, method="DELETE")
            with urllib.request.urlopen(request) as answer:
                self.result["ended"] = answer.status
        self.pipeline.set_state(Gst.State.NULL)


Gst.init(None)
client = Client(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
client.run()
sys.stdout.write(json.dumps(client.result) + "\n")
