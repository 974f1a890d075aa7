// The pieces of speech: heard, trimmed, removed. A piece is {media, at, until, from, to, who}: when in
// the film it is spoken, which part of its sound is used, and by whom it is said; `to` null is the
// sound's own end, `who` null the film's speaker.

import { lasting, make } from "./studio-words.js";

const LEAST_SECONDS = 0.2;
const STEP_SECONDS = 0.05;
const WAVE_BYTES = 40e6; // of a larger file no wave is drawn: it would all have to be sent here
const WAVE_RATE = 8000;
const WAVE_BARS = 240;

/** How long the part of a piece's sound is that is used, seconds. */
export const lengthOf = ({ media, from, to }) => (to ?? media.seconds) - from;

/** Make the row of a piece. `tell` has `changed`, `remove` and `trouble`. */
export function pieceRow(piece, tell) {
  const { media } = piece;
  const time = make("span", { class: "time" });
  const player = make("audio", { src: media.link, preload: "none" });
  const play = make("button", { type: "button", class: "round", ariaLabel: `Hear ${media.name}` });
  const named = (text) => ({ type: "button", class: "quiet", textContent: text, ariaLabel: `${text} ${media.name}` });
  const trim = make("button", named("Trim"));
  const remove = make("button", named("Remove"));
  const showTime = () => {
    const part = piece.from > 0 || piece.to !== null;
    time.textContent = part ? `${lasting(lengthOf(piece))} of ${lasting(media.seconds)}` : lasting(media.seconds);
  };
  const editor = trimmer(piece, player, () => {
    showTime();
    tell.changed(piece);
  });
  hear(piece, play, player, tell);
  remove.addEventListener("click", () => tell.remove(piece));
  trim.setAttribute("aria-expanded", "false");
  trim.addEventListener("click", () => {
    editor.element.hidden = !editor.element.hidden;
    trim.setAttribute("aria-expanded", String(!editor.element.hidden));
    if (!editor.element.hidden) editor.open();
  });
  showTime();
  const head = make("div", { class: "head" }, play, make("span", { class: "title", textContent: media.name, title: media.name }), time, trim, remove);
  return make("li", {}, head, editor.element, player);
}

/** Play the part that is used, and no more. */
function hear(piece, play, player, tell) {
  const stop = () => piece.to ?? Infinity;
  const show = () => play.setAttribute("aria-pressed", String(!player.paused));
  play.addEventListener("click", () => {
    if (!player.paused) return player.pause();
    if (player.currentTime < piece.from || player.currentTime >= stop() - 0.05 || player.ended) player.currentTime = piece.from;
    player.play().catch(() => tell.trouble(`This browser cannot play ${piece.media.name}; in the film it will be heard.`));
  });
  player.addEventListener("timeupdate", () => {
    if (player.currentTime < stop()) return;
    player.pause();
    player.currentTime = piece.from;
  });
  for (const event of ["play", "pause", "ended"]) player.addEventListener(event, show);
  show();
}

/** The strip on which the used part is chosen: by its two edges, or by typing. */
function trimmer(piece, player, changed) {
  const { media } = piece;
  const wave = make("canvas", { class: "wave", width: 2 * WAVE_BARS, height: 96 });
  const used = make("div", { class: "used" });
  const needle = make("div", { class: "needle", hidden: true });
  const edges = { from: edge(`Beginning of ${media.name}`), to: edge(`End of ${media.name}`) };
  const inputs = { from: seconds(`Use from, seconds: ${media.name}`), to: seconds(`Use to, seconds: ${media.name}`) };
  const strip = make("div", { class: "strip" }, wave, used, needle, edges.from, edges.to);
  const typed = (text, input) => make("label", {}, make("span", { textContent: text }), input);
  const element = make("div", { class: "trim", hidden: true }, strip, make("div", { class: "row" }, typed("Use from", inputs.from), typed("to", inputs.to)));
  let drawn = false;

  const ends = () => ({ from: piece.from, to: piece.to ?? media.seconds });
  const show = () => {
    const { from, to } = ends();
    used.style.left = `${(100 * from) / media.seconds}%`;
    used.style.right = `${100 - (100 * to) / media.seconds}%`;
    for (const [which, value] of Object.entries({ from, to })) {
      edges[which].style.left = `${(100 * value) / media.seconds}%`;
      edges[which].setAttribute("aria-valuemax", media.seconds.toFixed(2));
      edges[which].setAttribute("aria-valuenow", value.toFixed(2));
      if (document.activeElement !== inputs[which]) inputs[which].value = value.toFixed(2);
    }
  };
  const set = (which, value) => {
    const { from, to } = ends();
    const least = Math.min(LEAST_SECONDS, media.seconds);
    const whole = Math.round(value * 1000) / 1000;
    if (which === "from") piece.from = Math.max(0, Math.min(whole, to - least));
    else piece.to = whole >= media.seconds - 1e-3 ? null : Math.max(whole, from + least);
    show();
    changed();
  };

  for (const which of ["from", "to"]) {
    inputs[which].addEventListener("change", ({ target }) => set(which, target.value === "" ? (which === "from" ? 0 : media.seconds) : Number(target.value)));
    inputs[which].addEventListener("blur", show);
    edges[which].addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      set(which, ends()[which] + step * (event.shiftKey ? 10 : 1) * STEP_SECONDS);
    });
    edges[which].addEventListener("pointerdown", (event) => drag(event, edges[which], strip, (part) => set(which, part * media.seconds)));
  }
  player.addEventListener("timeupdate", () => {
    needle.hidden = player.paused;
    needle.style.left = `${(100 * player.currentTime) / media.seconds}%`;
  });
  player.addEventListener("pause", () => (needle.hidden = true));
  const open = () => {
    show();
    if (!drawn) draw(wave, media.link).catch(() => {}); // a codec this browser does not know
    drawn = true;
  };
  return { element, open };
}

function edge(label) {
  const made = make("button", { type: "button", class: "edge", ariaLabel: label });
  made.setAttribute("role", "slider");
  made.setAttribute("aria-valuemin", "0");
  return made;
}

function seconds(label) {
  return make("input", { type: "number", min: 0, step: 0.01, inputMode: "decimal", ariaLabel: label });
}

function drag(event, edge, strip, move) {
  event.preventDefault();
  edge.focus();
  edge.setPointerCapture(event.pointerId);
  const box = strip.getBoundingClientRect();
  const moved = ({ clientX }) => move(Math.min(1, Math.max(0, (clientX - box.left) / box.width)));
  edge.addEventListener("pointermove", moved);
  const stop = () => edge.removeEventListener("pointermove", moved);
  for (const end of ["pointerup", "pointercancel"]) edge.addEventListener(end, stop, { once: true });
}

/** Draw how loud the sound is from its beginning to its end. */
async function draw(canvas, link) {
  const answer = await fetch(link);
  if (!answer.ok || Number(answer.headers.get("Content-Length")) > WAVE_BYTES) return answer.body?.cancel();
  const sound = await new OfflineAudioContext(1, 1, WAVE_RATE).decodeAudioData(await answer.arrayBuffer());
  const samples = sound.getChannelData(0);
  const every = samples.length / WAVE_BARS;
  const peaks = Array.from({ length: WAVE_BARS }, (_, bar) => {
    let peak = 0;
    for (let at = Math.floor(bar * every); at < (bar + 1) * every && at < samples.length; at++) peak = Math.max(peak, Math.abs(samples[at]));
    return peak;
  });
  const loudest = Math.max(0.01, ...peaks);
  const pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(canvas).color;
  peaks.forEach((peak, bar) => {
    const height = Math.max(2, (peak / loudest) * canvas.height * 0.86);
    pen.fillRect(2 * bar, (canvas.height - height) / 2, 1.3, height);
  });
}
