// The list of films: one row each, changed in place so that a player or a focus is not disturbed.

import { day, lasting, left, make, sentence, size } from "./studio-words.js";

const SURE_MS = 4000;

export class Films extends EventTarget {
  #list;
  #rows = new Map();

  constructor(list) {
    super();
    this.#list = list;
  }

  /** Show these films, the newest first. */
  show(films) {
    for (const [id, row] of this.#rows) {
      if (films.some((film) => film.id === id)) continue;
      row.item.remove();
      this.#rows.delete(id);
    }
    films.forEach((film, at) => {
      const row = this.#rows.get(film.id) ?? this.#row(film);
      this.#rows.set(film.id, row);
      if (this.#list.children[at] !== row.item) this.#list.insertBefore(row.item, this.#list.children[at] ?? null);
      this.#update(row, film);
    });
  }

  /** Open a finished film for watching. */
  open(id) {
    const row = this.#rows.get(id);
    if (row && row.screen.hidden) row.watch.click();
  }

  #row(film) {
    const ask = (what) => () => this.dispatchEvent(new CustomEvent("ask", { detail: { what, id: film.id } }));
    const named = (text) => ({ type: "button", class: "quiet", textContent: text, ariaLabel: `${text}: ${film.title}` });
    const row = {
      state: null,
      film,
      grows: false, // whether it could be watched while it was made
      picture: make("img", { alt: "", src: film.poster, loading: "lazy" }),
      line: make("p", { class: "state" }),
      bar: make("progress", { max: 1, ariaLabel: `Progress of ${film.title}` }),
      note: make("p", { class: "note" }),
      player: make("video", { controls: true, playsInline: true, preload: "metadata", poster: film.poster }),
      screen: make("div", { class: "screen", hidden: true }),
      wipe: null, // the slider between before and after, once there is one
      watch: make("button", named("Watch")),
      compare: make("button", { ...named("Compare"), ariaPressed: "false" }),
      captions: make("a", { class: "quiet", textContent: "Captions", ariaLabel: `Captions as SRT: ${film.title}`, download: "captions.srt" }),
      save: make("a", { class: "quiet", textContent: "Download", ariaLabel: `Download: ${film.title}` }),
      cancel: make("button", named("Cancel")),
      again: make("button", named("Try again")),
      remove: make("button", named("Delete")),
    };
    row.player.setAttribute("aria-label", film.title);
    row.screen.append(row.player);
    row.watch.addEventListener("click", () => this.#watch(row));
    row.compare.addEventListener("click", () => compare(row));
    row.cancel.addEventListener("click", ask("cancel"));
    row.again.addEventListener("click", ask("again"));
    row.remove.addEventListener("click", () => sure(row.remove, ask("remove")));
    const buttons = make("div", { class: "buttons" }, row.watch, row.compare, row.save, row.captions, row.again, row.cancel, row.remove);
    const told = make("div", { class: "told" }, make("h3", { textContent: film.title, title: film.title }), row.line, row.bar, row.note);
    row.item = make("li", { class: "film" }, make("div", { class: "head" }, row.picture, told), row.screen, buttons);
    return row;
  }

  #update(row, film) {
    const before = row.film.state;
    row.film = film;
    const { state, progress, message } = film;
    row.item.dataset.state = state;
    row.line.textContent = stateLine(film);
    row.bar.hidden = state !== "working";
    if (progress?.of) row.bar.value = progress.done / progress.of;
    else row.bar.removeAttribute("value");
    row.note.textContent = state === "failed" ? sentence(message) : faceNote(film);
    row.note.hidden = row.note.textContent === "";
    row.save.hidden = state !== "done";
    row.watch.hidden = state !== "done" && !film.growing;
    if (film.growing && !row.grows) this.dispatchEvent(new CustomEvent("growing", { detail: film }));
    row.grows ||= Boolean(film.growing);
    if (state === "done" && row.player.dataset.growing) whole(row.player, film.film.link);
    row.compare.hidden = row.screen.hidden || !film.film?.before;
    row.captions.hidden = !film.film?.captions;
    if (!row.captions.hidden) row.captions.href = `${film.film.captions}&format=srt`;
    if (state === "done") row.save.href = `${film.film.link}&download=1`;
    row.cancel.hidden = state !== "waiting" && state !== "working";
    row.again.hidden = state !== "failed" && state !== "cancelled";
    row.remove.hidden = !row.cancel.hidden;
    if (row.state !== null && before !== state) this.dispatchEvent(new CustomEvent("turned", { detail: film }));
    row.state = state;
  }

  #watch(row) {
    row.screen.hidden = !row.screen.hidden;
    row.watch.textContent = row.screen.hidden ? "Watch" : "Close";
    row.watch.ariaLabel = `${row.watch.textContent}: ${row.film.title}`;
    row.compare.hidden = row.screen.hidden || !row.film.film?.before;
    if (row.screen.hidden) return row.player.pause();
    if (row.player.src) return;
    if (!row.film.film) {
      row.player.dataset.growing = "yes";
      row.player.src = row.film.growing;
      row.player.play().catch(() => {}); // not unless somebody has clicked
      return;
    }
    const { link, captions } = row.film.film;
    if (captions) row.player.append(make("track", { kind: "captions", src: captions, label: "Captions", srclang: "und" }));
    row.player.src = link;
  }
}

/** Go on with the finished film where a player showed it as it was made. */
function whole(player, link) {
  const { currentTime, paused } = player;
  delete player.dataset.growing;
  player.src = link;
  player.currentTime = currentTime;
  if (!paused) player.play().catch(() => {});
}

/** Lay the picture or film as it was over the player, left of a slider; or take it away. */
function compare(row) {
  const shown = row.wipe === null;
  row.compare.ariaPressed = String(shown);
  row.player.controls = !shown; // they would lie half under the other picture
  if (!shown) {
    row.wipe.remove();
    row.wipe = null;
    return;
  }
  const { kind, link } = row.film.film.before;
  const before = kind === "film" ? make("video", { src: link, muted: true, playsInline: true, preload: "auto" }) : make("img", { src: link, alt: "" });
  const line = make("span", { class: "line" });
  const words = ["Before", "After"].map((textContent) => make("b", { class: "word", textContent }));
  const play = make("button", { type: "button", class: "round", ariaLabel: "Play" });
  play.addEventListener("click", () => (row.player.paused ? row.player.play() : row.player.pause()));
  const told = () => (play.ariaPressed = String(!row.player.paused));
  for (const kind of ["play", "pause"]) row.player.addEventListener(kind, told);
  told();
  const slider = make("input", { type: "range", min: 0, max: 100, value: 50, ariaLabel: `Before and after: ${row.film.title}` });
  row.wipe = make("div", { class: "wipe" }, make("div", { class: "before" }, before), line, ...words, slider, play);
  const place = () => row.wipe?.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", place);
  before.addEventListener("error", () => {
    if (row.wipe) compare(row); // a kind of film that this browser does not play
    row.compare.hidden = true;
  });
  if (kind === "film") keepInStep(before, row.player);
  row.screen.append(row.wipe);
  place();
}

/** Let a film without sound show what a player shows; it begins again where it is shorter by more than a picture or two. */
function keepInStep(before, player) {
  const follow = () => {
    if (!before.isConnected || !Number.isFinite(before.duration)) return;
    const again = player.duration > before.duration + 0.1;
    const at = again ? player.currentTime % before.duration : Math.min(player.currentTime, before.duration);
    if (Math.abs(before.currentTime - at) > (player.paused ? 0.01 : 0.15)) before.currentTime = at;
    if (player.paused) before.pause();
    else before.play().catch(() => {});
  };
  for (const kind of ["play", "pause", "seeked", "timeupdate"]) player.addEventListener(kind, follow);
  before.addEventListener("loadedmetadata", follow);
}

function stateLine(film) {
  const { state, progress, before, preview } = film;
  if (state === "waiting") return before === 0 ? "Next" : before === 1 ? "Waits for one film before it" : `Waits for ${before} films before it`;
  if (state === "working" && !progress?.of) return "Getting ready";
  if (state === "working") {
    const part = `${Math.floor((100 * progress.done) / progress.of)} %`;
    return progress.left_s === null ? part : `${part} · ${left(progress.left_s)}`;
  }
  if (state === "done") return `${preview ? "Preview · " : ""}${lasting(film.film.seconds)} · ${size(film.film.bytes)} · kept until ${day(film.kept_until)}`;
  return state === "failed" ? "Could not be made" : "Cancelled";
}

function faceNote({ state, film }) {
  if (state !== "done" || film.faceless === 0) return "";
  const { faceless, turned = 0, covered = 0 } = film;
  const why = turned > covered && 2 * turned >= faceless ? "the face is turned away" : 2 * covered >= faceless ? "the mouth is covered" : "no face was found";
  return faceless >= film.frames
    ? `In all of it ${why}: its pictures are unchanged.`
    : `In parts of it ${why}: those are unchanged.`;
}

/** Ask once more, on the button itself. */
function sure(button, act) {
  if (button.dataset.sure) return act();
  const text = button.textContent;
  button.dataset.sure = "yes";
  button.textContent = "Really delete?";
  setTimeout(() => {
    delete button.dataset.sure;
    button.textContent = text;
  }, SURE_MS);
}
