// The microphone into a sound file.

import { Meter } from "./meter.js";
import { Microphone } from "./sound.js";

const KINDS = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
const TICK_MS = 200;

export class Recorder {
  #microphone = null;
  #recorder = null;
  #timer = 0;

  /** `showLevel` is told the loudness, 0 to 1, `showSeconds` how long it has been running. */
  constructor(showLevel, showSeconds) {
    this.meter = new Meter(showLevel);
    this.showSeconds = showSeconds;
  }

  get running() {
    return this.#recorder !== null;
  }

  async start(onEnd) {
    if (typeof MediaRecorder === "undefined") throw new DOMException("", "NotSupportedError");
    this.#microphone = await Microphone.open("");
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    const parts = [];
    const recorder = new MediaRecorder(this.#microphone.stream, { mimeType });
    this.#recorder = recorder;
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    recorder.addEventListener("stop", () => onEnd(new Blob(parts, { type: recorder.mimeType })));
    this.#microphone.onEnd(() => this.stop());
    recorder.start(1000);
    const begun = performance.now();
    this.#timer = setInterval(() => this.showSeconds((performance.now() - begun) / 1000), TICK_MS);
    await this.meter.listen(this.#microphone.stream);
  }

  stop() {
    if (this.#recorder === null) return;
    clearInterval(this.#timer);
    this.meter.stop();
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
    this.#microphone.close();
    this.#recorder = null;
  }
}

/** What to tell the user when nothing can be recorded. */
export function explainRecording(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The microphone was refused. Allow it in your browser’s address bar and try again, or choose a file.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No microphone was found. Connect one and try again, or choose a file.";
    case "NotReadableError":
      return "The microphone is busy. Close the program that uses it and try again.";
    case "InsecureError":
      return "Browsers allow the microphone only over https or on this machine. Open this page as http://localhost, or choose a file.";
    default:
      return `Nothing could be recorded: ${error.message || error.name}.`;
  }
}
