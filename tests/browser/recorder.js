// Record what a viewer sees and hears, both with the page's clock. Run inside the page under test.
//
// Seen: the mean brightness of a box of each picture, with the time at which it is displayed.
// Heard: the sound of the same stream, with the time at which the first sample is heard.

async ({ seconds, box }) => {
  const video = document.getElementById("avatar");
  const worklet = `registerProcessor("tap", class extends AudioWorkletProcessor {
    process([input]) {
      if (input.length) this.port.postMessage([currentTime, input[0].slice()]);
      return true;
    }
  })`;
  const context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
  await context.resume();
  const url = URL.createObjectURL(new Blob([worklet], { type: "text/javascript" }));
  await context.audioWorklet.addModule(url);
  const sound = new MediaStream(video.srcObject.getAudioTracks());
  const tap = new AudioWorkletNode(context, "tap", { channelCount: 1, channelCountMode: "explicit" });
  context.createMediaStreamSource(sound).connect(tap).connect(context.destination);

  const blocks = [];
  const clocks = [];
  tap.port.onmessage = ({ data }) => {
    blocks.push(data);
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
  const pcm = new Int16Array(blocks.reduce((sum, [, block]) => sum + block.length, 0));
  let at = 0;
  for (const [, block] of blocks) {
    for (const sample of block) pcm[at++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
  }
  let bytes = "";
  new Uint8Array(pcm.buffer).forEach((byte) => (bytes += String.fromCharCode(byte)));
  return { rate, pictures, pcm: btoa(bytes), heardAt: blocks[0][0] + clock, sampleRate: context.sampleRate };
}
