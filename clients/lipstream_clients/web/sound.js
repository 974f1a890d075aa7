// Where the sound comes from: a microphone, or a file played into a track as if it were one.

const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

let shared = null;

/** The page's one AudioContext, made on the first gesture. */
export async function audioContext() {
  // At the machine's own rate: Firefox connects no microphone of 44.1 kHz to a context of 48.
  shared ??= new AudioContext({ latencyHint: "interactive" });
  if (shared.state !== "running") await shared.resume();
  return shared;
}

export class Microphone {
  static async open(deviceId) {
    if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("", "InsecureError");
    const audio = deviceId ? { ...MICROPHONE, deviceId: { exact: deviceId } } : MICROPHONE;
    return new Microphone(await navigator.mediaDevices.getUserMedia({ audio }));
  }

  constructor(stream) {
    this.stream = stream;
    [this.track] = stream.getAudioTracks();
  }

  get deviceId() {
    return this.track.getSettings().deviceId;
  }

  onEnd(listener) {
    this.track.addEventListener("ended", listener);
  }

  close() {
    this.track.stop();
  }
}

export class SoundFile {
  #source;

  static async open(file) {
    const context = await audioContext();
    const buffer = await context.decodeAudioData(await file.arrayBuffer());
    return new SoundFile(context, buffer);
  }

  constructor(context, buffer) {
    const destination = context.createMediaStreamDestination();
    destination.channelCount = 1;
    this.#source = new AudioBufferSourceNode(context, { buffer });
    this.#source.connect(destination);
    this.stream = destination.stream;
    [this.track] = this.stream.getAudioTracks();
    this.seconds = buffer.duration;
  }

  play() {
    this.#source.start();
  }

  onEnd(listener) {
    this.#source.addEventListener("ended", listener);
  }

  close() {
    this.#source.disconnect();
    this.track.stop();
  }
}

/** The microphones there are. Their names are known once the user has allowed one. */
export async function microphones() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "audioinput" && device.deviceId);
}

/** The loudspeakers there are, where the browser lets one choose. */
export async function speakers() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "audiooutput" && device.deviceId);
}

/** What to tell the user when a source could not be opened. */
export function explain(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The microphone was refused. Allow it in your browser's address bar and press Talk again, or speak a sound file.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No microphone was found. Connect one and press Talk again, or speak a sound file.";
    case "NotReadableError":
      return "The microphone is busy. Close the program that uses it and press Talk again.";
    case "InsecureError":
      return "Browsers allow the microphone only over https or on this machine. Open this page as http://localhost, or speak a sound file.";
    case "EncodingError":
      return "This file holds no sound that your browser can read. Try WAV, MP3, OGG or M4A.";
    default:
      return `The sound could not be opened: ${error.message || error.name}.`;
  }
}
