// The loudness of a stream, 0 to 1, 15 times a second: each time a part of the page is drawn anew.

import { audioContext } from "./sound.js";

const FLOOR_DB = -60;
const PERIOD_MS = 1000 / 15;
const FALL = 0.66; // of the last value, each time: quick to rise, slow to fall

export class Meter {
  #stop = null;

  constructor(show) {
    this.show = show;
  }

  async listen(stream) {
    this.stop();
    const context = await audioContext();
    const source = context.createMediaStreamSource(stream);
    const analyser = new AnalyserNode(context, { fftSize: 1024 });
    source.connect(analyser);
    const wave = new Float32Array(analyser.fftSize);
    let level = 0;
    const draw = () => {
      analyser.getFloatTimeDomainData(wave);
      const power = wave.reduce((sum, sample) => sum + sample * sample, 0) / wave.length;
      const loudness = 1 - (10 * Math.log10(power + 1e-12)) / FLOOR_DB;
      level = Math.min(1, Math.max(loudness, level * FALL, 0));
      this.show(level);
    };
    draw();
    const timer = setInterval(draw, PERIOD_MS);
    this.#stop = () => {
      clearInterval(timer);
      source.disconnect();
    };
  }

  stop() {
    this.#stop?.();
    this.#stop = null;
    this.show(0);
  }
}
