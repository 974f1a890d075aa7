// Live numbers from the receiver's own statistics (W3C webrtc-stats), once a second.

// A browser lines sound and picture up once a second, by 80 ms at most (libwebrtc,
// video/stream_synchronization.cc: kMaxChangeMs, kFilterLength). Until it has, the offset is large
// and tells of the start alone: a server stopped for 0.3 s while a visitor connected gave -256 ms,
// and took Chromium up to 12 s to make good.
const STEP_MS = 80;
const IN_STEP = 3; // readings in a row within a step: one by itself may be passing through zero
const LONGEST = 12; // readings: what is out of step after these stays so, and has to be told

export class Numbers {
  #before = null;
  #readings = 0; // of the offset
  #inStep = 0; // of these, the last ones in a row

  /**
   * Return {fps, bufferMs, networkMs, offsetMs} of the time since the last call, or null.
   * offsetMs is null where it is unknown or the browser still lines sound and picture up.
   */
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
      offsetMs: this.#settled(offset(audio, video)),
    };
  }

  /** Return the offset once it says more than how the connection began, else null. */
  #settled(offsetMs) {
    if (offsetMs === null) return null;
    this.#readings += 1;
    if (this.#inStep < IN_STEP) this.#inStep = Math.abs(offsetMs) <= STEP_MS ? this.#inStep + 1 : 0;
    return this.#inStep === IN_STEP || this.#readings >= LONGEST ? offsetMs : null;
  }
}

/** Sound ahead of picture, in ms: what is heard now against what is seen now, by the sender's clock. */
function offset(audio, video) {
  if (!audio?.estimatedPlayoutTimestamp || !video?.estimatedPlayoutTimestamp) return null;
  const audible = audio.estimatedPlayoutTimestamp - audio.timestamp;
  const visible = video.estimatedPlayoutTimestamp - video.timestamp;
  return audible - visible;
}

const KEPT = 60; // readings, a minute

/** Delay and offset of the last minute, as the points of two lines in a box of 120 by 30. */
export class History {
  #readings = [];

  add(reading) {
    this.#readings = [...this.#readings, reading].slice(-KEPT);
    return { delay: this.#line("delayMs", 0, 400), offset: this.#line("offsetMs", -100, 100) };
  }

  #line(name, low, high) {
    const held = (value) => Math.min(high, Math.max(low, value));
    const points = this.#readings.map((reading, at) => [at, reading[name]]).filter(([, value]) => value !== null);
    return points.map(([at, value]) => `${at * 2},${(30 - ((held(value) - low) / (high - low)) * 30).toFixed(1)}`).join(" ");
  }
}
