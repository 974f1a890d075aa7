// How the lips stand at each moment of the sound: `face` events in, units of the face out.

const RATE = 48000; // samples a second, as `face` events count them
const KEPT = 2 * 25; // events, two seconds
const PATIENCE = 0.3 * RATE; // without an event for so long, the face comes to rest
const REST = {};

export class LipTrack {
  #faces = [];

  /** Take an event; they rise, unless the server began anew. */
  add({ sample, arkit }) {
    if (sample <= (this.#faces.at(-1)?.sample ?? -1)) this.#faces.length = 0;
    this.#faces.push({ sample, units: arkit });
    if (this.#faces.length > KEPT) this.#faces.shift();
  }

  clear() {
    this.#faces.length = 0;
  }

  /** Units by name, 0 to 1, as a sample is heard: on the straight line between two events. */
  at(sample) {
    const next = this.#faces.findIndex((face) => face.sample > sample);
    if (next === 0) return REST; // nothing is known of then
    const before = this.#faces.at(next === -1 ? -1 : next - 1);
    if (before === undefined || sample - before.sample > PATIENCE) return REST;
    if (next === -1) return before.units;
    const after = this.#faces[next];
    const share = (sample - before.sample) / (after.sample - before.sample);
    const names = Object.keys(before.units);
    return Object.fromEntries(names.map((name) => [name, mix(before.units[name], after.units[name] ?? 0, share)]));
  }

  /** The newest event's units, for when it is not known what is heard. */
  get newest() {
    return this.#faces.at(-1)?.units ?? REST;
  }
}

const mix = (a, b, share) => a + (b - a) * share;
