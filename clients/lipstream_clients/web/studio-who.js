// Of several people in a picture or film, the one who speaks: chosen by a click, or from a list; in
// a film, for a piece of speech also from a list of its own.

import { make } from "./studio-words.js";

const FILM_PLACES = 4; // further people may come into a film
const ORDINALS = ["1st", "2nd", "3rd"];

/** Rules that pick a face, for a list. */
const rules = (places) => [
  new Option("The largest face", "largest"),
  ...Array.from({ length: places }, (_, at) => new Option(`${ORDINALS[at] ?? `${at + 1}th`} from the left`, String(at + 1))),
];

/** The rule that a list's value stands for. */
const ruled = (value) => (value === "largest" ? value : Number(value));

/** Make the list from which a piece's own speaker is chosen; its `who` null is the film's. */
export function speakerOf(piece, places) {
  const list = make("select", { ariaLabel: `Said by: ${piece.media.name}` }, new Option("As chosen above", ""), ...rules(places));
  list.value = String(piece.who ?? "");
  list.addEventListener("change", () => (piece.who = list.value === "" ? null : ruled(list.value)));
  return make("label", { class: "pick" }, make("span", { textContent: "Said by" }), list);
}

export class People {
  #media = null;
  #who = "largest"; // or a number from the left, or a point {x, y} in the picture's own pixels
  #parts;

  /** `parts`: the elements `seen` (round the picture), `marks` (over it), `choice`, `list`, `follow`. */
  constructor(parts) {
    this.#parts = parts;
    parts.list.addEventListener("change", () => {
      this.#who = ruled(parts.list.value);
      this.#draw();
    });
    parts.marks.addEventListener("click", (event) => this.#clicked(event));
  }

  /** Show the people of a picture or film, or nobody (null). */
  show(media) {
    if (media?.id !== this.#media?.id) {
      this.#who = "largest";
      this.#parts.follow.checked = false;
    }
    this.#media = media;
    this.#draw();
  }

  /** What an order says of it. */
  get order() {
    if (!this.#open) return {};
    return { who: this.#who, ...(this.#media.kind === "film" && { follow: this.#parts.follow.checked }) };
  }

  /** Places from the left that can be chosen, of a picture or film. */
  get places() {
    const { faces, kind } = this.#media;
    return kind === "film" ? Math.max(FILM_PLACES, faces.length) : faces.length;
  }

  get #open() {
    return this.#media !== null && (this.#media.kind === "film" || this.#media.faces.length > 1);
  }

  #clicked(event) {
    const box = this.#parts.marks.getBoundingClientRect();
    const { width, height, kind, faces } = this.#media;
    const ring = event.target.closest(".ring");
    if (ring) {
      const { x, y } = faces[Number(ring.dataset.face)];
      this.#who = { x, y };
    } else {
      const part = (at, from, size, whole) => Math.round(Math.min(1, Math.max(0, (at - from) / size)) * whole);
      this.#who = { x: part(event.clientX, box.left, box.width, width), y: part(event.clientY, box.top, box.height, height) };
    }
    if (kind === "film") this.#parts.follow.checked = true; // who points at somebody means that person
    this.#draw();
    if (ring) this.#parts.marks.querySelector(`[data-face="${ring.dataset.face}"]`).focus();
  }

  #draw() {
    const { marks, choice, list, follow, seen } = this.#parts;
    choice.hidden = !this.#open;
    seen.classList.toggle("many", this.#open);
    marks.replaceChildren();
    if (!this.#open) return;
    const { faces, kind } = this.#media;
    follow.closest("label").hidden = kind !== "film";
    const point = typeof this.#who === "object";
    list.replaceChildren(
      ...rules(this.places),
      ...(point ? [new Option("The one you clicked", "point")] : []),
    );
    list.value = point ? "point" : String(this.#who);
    const chosen = this.#chosen(faces);
    marks.append(...faces.map((face, at) => this.#ring(face, at, at === chosen)));
    if (point && !faces.some(({ x, y }) => x === this.#who.x && y === this.#who.y)) marks.append(this.#dot(this.#who));
  }

  /** Which of the faces shown is meant. */
  #chosen(faces) {
    if (faces.length === 0) return -1;
    if (typeof this.#who === "number") return this.#who - 1;
    const { x, y } = this.#who;
    const score = this.#who === "largest" ? (face) => face.size : (face) => -Math.hypot(face.x - x, face.y - y);
    return faces.reduce((best, face, at) => (score(face) > score(faces[best]) ? at : best), 0);
  }

  #ring(face, at, chosen) {
    const { width, height, faces } = this.#media;
    const ring = make("button", { type: "button", class: "ring", ariaLabel: `Face ${at + 1} of ${faces.length}, from the left` });
    ring.dataset.face = String(at);
    ring.setAttribute("aria-pressed", String(chosen));
    ring.style.left = `${(100 * face.x) / width}%`;
    ring.style.top = `${(100 * face.y) / height}%`;
    ring.style.height = `${(100 * face.size) / height}%`;
    return ring;
  }

  #dot({ x, y }) {
    const dot = make("span", { class: "dot" });
    dot.style.left = `${(100 * x) / this.#media.width}%`;
    dot.style.top = `${(100 * y) / this.#media.height}%`;
    return dot;
  }
}
