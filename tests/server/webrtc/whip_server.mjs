// A WHIP server of werift, WebRTC in TypeScript: it records what is published, as WebM of VP8 and Opus.
// Run as: node whip_server.mjs FOLDER. It says its port, and keeps each session in FOLDER/NUMBER.webm.

import http from "node:http";
import { RTCPeerConnection, RTCRtpCodecParameters } from "werift";
import { MediaRecorder } from "werift/nonstandard";

const [, , folder] = process.argv;
const codecs = {
  audio: [new RTCRtpCodecParameters({ mimeType: "audio/opus", clockRate: 48000, channels: 2 })],
  video: [
    new RTCRtpCodecParameters({
      mimeType: "video/VP8",
      clockRate: 90000,
      rtcpFeedback: [{ type: "nack" }, { type: "nack", parameter: "pli" }],
    }),
  ],
};
const sessions = [];

async function publish(sdp) {
  const peer = new RTCPeerConnection({ codecs, iceServers: [] });
  const path = `${folder}/${sessions.length + 1}.webm`;
  const recorder = new MediaRecorder({ path, numOfTracks: 2, width: 128, height: 128 });
  peer.onTrack.subscribe((track) => recorder.addTrack(track));
  peer.onTransceiverAdded.subscribe((transceiver) => {
    transceiver.onTrack.subscribe((track) => {
      if (track.kind !== "video") return;
      track.onReceiveRtp.once(({ header }) => transceiver.receiver.sendRtcpPLI(header.ssrc));
    });
  });
  await peer.setRemoteDescription({ type: "offer", sdp });
  await peer.setLocalDescription(await peer.createAnswer());
  sessions.push({ peer, recorder });
  return peer.localDescription.sdp;
}

const server = http.createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  if (request.method === "POST") {
    const answer = await publish(body);
    response.writeHead(201, { "Content-Type": "application/sdp", Location: `/session/${sessions.length}` });
    response.end(answer);
  } else {
    const { peer, recorder } = sessions[Number(request.url.split("/").pop()) - 1];
    await recorder.stop();
    await peer.close();
    response.end();
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
