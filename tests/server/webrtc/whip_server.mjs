// A WHIP server of werift, WebRTC in TypeScript: it keeps what is published, put together from RTP.
// Run as: node whip_server.mjs FOLDER. It says its port. Session N is in FOLDER/N.video, VP8 pictures,
// and FOLDER/N.audio, Opus packets: each of them its length in 4 bytes, little-endian, then its data.

import fs from "node:fs";
import http from "node:http";
import { RTCPeerConnection, RTCRtpCodecParameters, dePacketizeRtpPackets } from "werift";

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
const FORMATS = { audio: "OPUS", video: "VP8" };
const sessions = [];

function keep(path, data) {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(data.length);
  fs.appendFileSync(path, Buffer.concat([length, data]));
}

async function publish(sdp) {
  const peer = new RTCPeerConnection({ codecs, iceServers: [] });
  const path = `${folder}/${sessions.push(peer)}`;
  peer.onTransceiverAdded.subscribe((transceiver) => {
    transceiver.onTrack.subscribe((track) => {
      let packets = [];
      track.onReceiveRtp.subscribe((rtp) => {
        packets.push(rtp);
        if (track.kind === "video" && !rtp.header.marker) return;
        keep(`${path}.${track.kind}`, dePacketizeRtpPackets(FORMATS[track.kind], packets).data);
        packets = [];
      });
      if (track.kind !== "video") return;
      track.onReceiveRtp.once(({ header }) => transceiver.receiver.sendRtcpPLI(header.ssrc));
    });
  });
  await peer.setRemoteDescription({ type: "offer", sdp });
  await peer.setLocalDescription(await peer.createAnswer());
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
    await sessions[Number(request.url.split("/").pop()) - 1].close();
    response.end();
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
