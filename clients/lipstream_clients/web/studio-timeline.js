// Pieces of speech on a film: moved by hand, by arrow keys, or by typing their times.
//
// A piece is {media, at, until, from, to, who}: seconds of the film, `until` null where its sound ends
// by itself; then the part of the sound that is used, and who says it, null for the film's speaker.
// Times of the film lie on its pictures, since a mouth can begin only with a picture.

import { lengthOf } from "./studio-pieces.js";
import { speakerOf } from "./studio-who.js";
import { clock, lasting, make } from "./studio-words.js";

const LEAST_SECONDS = 0.2;

export class Timeline extends EventTarget {
  #root;
  #fps = 25;
  #film = null; // the film's seconds; null: it has no end
  #pieces = [];
  #rows = new Map();

  constructor(root) {
    super();
    this.#root = root;
    this.#root.classList.add("timeline");
  }

  /**
   * Show these pieces on a film of `seconds`, or on a picture (null). `places`: of those from the left
   * who may say a piece; 0 where one says them all.
   */
  show(pieces, { fps, seconds, fixed, places = 0 }) {
    this.#pieces = pieces;
    this.#fps = fps;
    this.#film = seconds;
    this.#rows.clear();
    if (fixed) return this.#root.replaceChildren();
    const lane = make("div", { class: "lane" });
    const rows = make("ol", { class: "times" });
    lane.setAttribute("aria-hidden", "false");
    pieces.forEach((piece, at) => {
      const row = this.#row(piece, at + 1, places);
      this.#rows.set(piece, row);
      lane.append(row.block);
      rows.append(row.line);
    });
    this.#root.replaceChildren(make("div", { class: "ruler" }), lane, rows);
    this.#draw();
  }

  end(piece) {
    return Math.min(piece.until ?? Infinity, piece.at + lengthOf(piece));
  }

  /** What is wrong with the pieces as they lie, or null. */
  trouble() {
    const ordered = [...this.#pieces].sort((one, other) => one.at - other.at);
    for (const [at, piece] of ordered.entries()) {
      const before = ordered[at - 1];
      const start = Math.floor(piece.at * this.#fps + 1e-6);
      if (this.#film !== null && piece.at >= this.#film - 1e-6) return { piece, text: `“${piece.media.name}” begins after the film’s end at ${lasting(this.#film)}.` };
      if (this.#film !== null && this.#lastFrame(piece) > Math.round(this.#film * this.#fps)) return { piece, text: `“${piece.media.name}” would still be speaking when the film ends. Begin earlier, or set where it ends.` };
      if (before && start < this.#lastFrame(before)) return { piece, text: `“${piece.media.name}” begins before “${before.media.name}” has ended.` };
    }
    return null;
  }

  /** The first time at which a new piece fits behind the others. */
  free() {
    return Math.max(0, ...this.#pieces.map((piece) => this.#lastFrame(piece))) / this.#fps;
  }

  #lastFrame(piece) {
    return Math.ceil(this.end(piece) * this.#fps - 1e-3);
  }

  get #span() {
    const end = Math.max(1, ...this.#pieces.map((piece) => this.end(piece)));
    return this.#film ?? end * 1.15;
  }

  #row(piece, number, places) {
    const name = piece.media.name;
    const grip = make("span", { class: "grip" });
    const block = make("button", { type: "button", class: "block" }, make("span", { textContent: name }), grip);
    const from = this.#input(`From, seconds: ${name}`, (value) => this.#move(piece, value ?? 0));
    const until = this.#input(`Until, seconds: ${name}`, (value) => this.#cut(piece, value));
    const line = make(
      "li", {},
      make("span", { class: "number", textContent: String(number) }),
      make("span", { class: "title", textContent: name }),
      make("label", {}, make("span", { textContent: "From" }), from),
      make("label", {}, make("span", { textContent: "Until" }), until),
      ...(places > 0 ? [speakerOf(piece, places)] : []),
    );
    block.addEventListener("keydown", (event) => this.#key(event, piece));
    block.addEventListener("pointerdown", (event) => this.#grab(event, piece, event.target === grip));
    return { block, from, until, line };
  }

  #input(label, change) {
    const input = make("input", { type: "number", min: 0, step: 0.01, inputMode: "decimal" });
    input.setAttribute("aria-label", label);
    input.addEventListener("change", () => change(input.value === "" ? null : Number(input.value)));
    return input;
  }

  #key(event, piece) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.#move(piece, piece.at + step * (event.shiftKey ? 1 : 1 / this.#fps));
  }

  #grab(event, piece, edge) {
    const lane = this.#root.querySelector(".lane").getBoundingClientRect();
    const { at } = piece;
    const end = this.end(piece);
    const { block } = this.#rows.get(piece);
    const span = this.#span;
    block.setPointerCapture(event.pointerId);
    const move = ({ clientX }) => {
      const by = ((clientX - event.clientX) / lane.width) * span;
      if (edge) this.#cut(piece, end + by);
      else this.#move(piece, at + by);
    };
    block.addEventListener("pointermove", move);
    const stop = () => block.removeEventListener("pointermove", move);
    block.addEventListener("pointerup", stop, { once: true });
    block.addEventListener("pointercancel", stop, { once: true });
  }

  /** Begin a piece elsewhere; what was cut off of it stays cut off. */
  #move(piece, at) {
    const cut = piece.until === null ? null : piece.until - piece.at;
    const most = this.#film === null ? Infinity : Math.max(0, this.#film - LEAST_SECONDS);
    piece.at = this.#snap(Math.min(Math.max(0, at), most));
    if (cut !== null) piece.until = this.#snap(piece.at + cut);
    this.#changed();
  }

  #cut(piece, until) {
    const own = piece.at + lengthOf(piece);
    if (until !== null && this.#film !== null) until = Math.min(until, this.#film);
    piece.until = until === null || until >= own - 1e-3 ? null : Math.max(this.#snap(until), piece.at + LEAST_SECONDS);
    this.#changed();
  }

  #snap(seconds) {
    return Math.round(seconds * this.#fps) / this.#fps;
  }

  #changed() {
    this.#draw();
    this.dispatchEvent(new Event("change"));
  }

  #draw() {
    const span = this.#span;
    const bad = this.trouble()?.piece;
    for (const [piece, { block, from, until }] of this.#rows) {
      const end = this.end(piece);
      block.style.left = `${(100 * piece.at) / span}%`;
      block.style.width = `${(100 * (Math.min(end, span) - piece.at)) / span}%`;
      block.classList.toggle("bad", piece === bad);
      block.setAttribute("aria-label", `${piece.media.name}, from ${piece.at.toFixed(2)} to ${end.toFixed(2)} seconds. The arrow keys move it.`);
      if (document.activeElement !== from) from.value = piece.at.toFixed(2);
      if (document.activeElement !== until) until.value = end.toFixed(2);
    }
    this.#drawRuler(span);
  }

  #drawRuler(span) {
    const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120].find((each) => span / each <= 8) ?? 300;
    const marks = [];
    for (let at = 0; at <= span + 1e-6; at += step) {
      const mark = make("span", { textContent: step < 1 ? at.toFixed(1) : clock(at) });
      mark.style.left = `${(100 * at) / span}%`;
      marks.push(mark);
    }
    const ruler = this.#root.querySelector(".ruler");
    ruler.setAttribute("aria-hidden", "true");
    ruler.replaceChildren(...marks);
  }
}

/** A piece as the server takes it: whole milliseconds that stay on their pictures. */
export function sent({ media, at, until, from, to, who }) {
  const cut = until === null ? null : Math.floor(until * 1000 + 1e-6) / 1000;
  return { sound: media.id, at: Math.ceil(at * 1000 - 1e-6) / 1000, until: cut, from, to, who };
}
