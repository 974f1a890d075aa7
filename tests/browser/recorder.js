// Record what a viewer sees and hears, both with the page's clock. Run inside the page under test.
//
// Seen: the mean brightness of a box of each picture, with the time at which it is displayed.
// Heard: the sound of the same stream, with the time at which the first sample is heard.
// Spoken: where the page kept its microphone's stream as `window.microphone`, what came from it, taken
// by the same graph at the same moments; when the graph took its first sample is `spokenAt`. From
// there to being heard sound takes `outputSeconds`: what the sound card holds.

async ({ seconds, box }) => {
  const video = document.getElementById("avatar");
  const worklet = `registerProcessor("tap", class extends AudioWorkletProcessor {
    process([heard, spoken]) {
      const parts = [heard, spoken].map((input) => input[0]?.slice() ?? new Float32Array(128));
      if (heard.length) this.port.postMessage([currentTime, ...parts]);
      return true;
    }
  })`;
  const context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
  await context.resume();
  const url = URL.createObjectURL(new Blob([worklet], { type: "text/javascript" }));
  await context.audioWorklet.addModule(url);
  const sound = new MediaStream(video.srcObject.getAudioTracks());
  const mono = { channelCount: 1, channelCountMode: "explicit" };
  const tap = new AudioWorkletNode(context, "tap", { numberOfInputs: 2, ...mono });
  context.createMediaStreamSource(sound).connect(tap).connect(context.destination);
  if (window.microphone) context.createMediaStreamSource(window.microphone).connect(tap, 0, 1);

  const blocks = [];
  const clocks = [];
  let taken = Infinity;
  tap.port.onmessage = ({ data }) => {
    blocks.push(data);
    taken = Math.min(taken, performance.now() / 1000 - data[0]);
    const { contextTime, performanceTime } = context.getOutputTimestamp();
    clocks.push(performanceTime / 1000 - contextTime);
  };

  const canvas = new OffscreenCanvas(16, 16);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const pictures = [];
  let watching = true;
  const look = (_, { expectedDisplayTime, rtpTimestamp }) => {
    if (!watching) return;
    video.requestVideoFrameCallback(look);
    pen.drawImage(video, box.x, box.y, box.width, box.height, 0, 0, 16, 16);
    const pixels = pen.getImageData(0, 0, 16, 16).data;
    let sum = 0;
    for (let at = 0; at < pixels.length; at += 4) sum += pixels[at] + pixels[at + 1] + pixels[at + 2];
    pictures.push([expectedDisplayTime / 1000, sum / (16 * 16 * 3), rtpTimestamp]);
  };
  video.requestVideoFrameCallback(look);

  const before = video.getVideoPlaybackQuality().totalVideoFrames;
  const begun = performance.now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const shown = video.getVideoPlaybackQuality().totalVideoFrames - before;
  const rate = shown / ((performance.now() - begun) / 1000);
  watching = false;
  await context.close();

  clocks.sort((a, b) => a - b);
  const clock = clocks[clocks.length >> 1];
  const pcm = (which) => {
    const samples = new Int16Array(blocks.length * 128);
    blocks.forEach((block, at) => {
      block[which].forEach((sample, k) => {
        samples[at * 128 + k] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      });
    });
    let bytes = "";
    new Uint8Array(samples.buffer).forEach((byte) => (bytes += String.fromCharCode(byte)));
    return btoa(bytes);
  };
  const [heardAt, spokenAt] = [clock, taken].map((from) => blocks[0][0] + from);
  return {
    rate, pictures, pcm: pcm(1), spoken: pcm(2), heardAt, spokenAt, outputSeconds: clock - taken,
    sampleRate: context.sampleRate,
  };
}
