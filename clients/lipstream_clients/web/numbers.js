// Live numbers from the receiver's own statistics (W3C webrtc-stats), once a second.

export class Numbers {
  #before = null;

  /** Return {fps, bufferMs, networkMs, offsetMs} of the time since the last call, or null. */
  read(statistics) {
    const inbound = (kind) => statistics.find((s) => s.type === "inbound-rtp" && s.kind === kind);
    const video = inbound("video");
    const audio = inbound("audio");
    const before = this.#before;
    this.#before = video ?? null;
    if (!video || !before || video.id !== before.id) return null;
    const seconds = (video.timestamp - before.timestamp) / 1000;
    const emitted = video.jitterBufferEmittedCount - before.jitterBufferEmittedCount;
    const buffered = video.jitterBufferDelay - before.jitterBufferDelay;
    const pair = statistics.find((s) => s.type === "candidate-pair" && s.nominated);
    return {
      fps: (video.framesDecoded - before.framesDecoded) / seconds,
      bufferMs: emitted > 0 ? (buffered / emitted) * 1000 : 0,
      networkMs: (pair?.currentRoundTripTime ?? 0) * 1000,
      offsetMs: offset(audio, video),
    };
  }
}

/** Sound ahead of picture, in ms: what is heard now against what is seen now, by the sender's clock. */
function offset(audio, video) {
  if (!audio?.estimatedPlayoutTimestamp || !video?.estimatedPlayoutTimestamp) return null;
  const heard = audio.estimatedPlayoutTimestamp - audio.timestamp;
  const seen = video.estimatedPlayoutTimestamp - video.timestamp;
  return heard - seen;
}
