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
    if (row && row.player.hidden) row.watch.click();
  }

  #row(film) {
    const ask = (what) => () => this.dispatchEvent(new CustomEvent("ask", { detail: { what, id: film.id } }));
    const named = (text) => ({ type: "button", class: "quiet", textContent: text, ariaLabel: `${text}: ${film.title}` });
    const row = {
      state: null,
      film,
      picture: make("img", { alt: "", src: film.poster, loading: "lazy" }),
      line: make("p", { class: "state" }),
      bar: make("progress", { max: 1, ariaLabel: `Progress of ${film.title}` }),
      note: make("p", { class: "note" }),
      player: make("video", { controls: true, playsInline: true, preload: "metadata", poster: film.poster, hidden: true }),
      watch: make("button", named("Watch")),
      save: make("a", { class: "quiet", textContent: "Download", ariaLabel: `Download: ${film.title}` }),
      cancel: make("button", named("Cancel")),
      again: make("button", named("Try again")),
      remove: make("button", named("Delete")),
    };
    row.player.setAttribute("aria-label", film.title);
    row.watch.addEventListener("click", () => this.#watch(row));
    row.cancel.addEventListener("click", ask("cancel"));
    row.again.addEventListener("click", ask("again"));
    row.remove.addEventListener("click", () => sure(row.remove, ask("remove")));
    const buttons = make("div", { class: "buttons" }, row.watch, row.save, row.again, row.cancel, row.remove);
    const told = make("div", { class: "told" }, make("h3", { textContent: film.title, title: film.title }), row.line, row.bar, row.note);
    row.item = make("li", { class: "film" }, make("div", { class: "head" }, row.picture, told), row.player, buttons);
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
    row.watch.hidden = row.save.hidden = state !== "done";
    if (state === "done") row.save.href = `${film.film.link}&download=1`;
    row.cancel.hidden = state !== "waiting" && state !== "working";
    row.again.hidden = state !== "failed" && state !== "cancelled";
    row.remove.hidden = !row.cancel.hidden;
    if (row.state !== null && before !== state) this.dispatchEvent(new CustomEvent("turned", { detail: film }));
    row.state = state;
  }

  #watch(row) {
    row.player.hidden = !row.player.hidden;
    row.watch.textContent = row.player.hidden ? "Watch" : "Close";
    row.watch.ariaLabel = `${row.watch.textContent}: ${row.film.title}`;
    if (row.player.hidden) return row.player.pause();
    if (!row.player.src) row.player.src = row.film.film.link;
  }
}

function stateLine(film) {
  const { state, progress, before } = film;
  if (state === "waiting") return before === 0 ? "Next" : before === 1 ? "Waits for one film before it" : `Waits for ${before} films before it`;
  if (state === "working" && !progress?.of) return "Getting ready";
  if (state === "working") {
    const part = `${Math.floor((100 * progress.done) / progress.of)} %`;
    return progress.left_s === null ? part : `${part} · ${left(progress.left_s)}`;
  }
  if (state === "done") return `${lasting(film.film.seconds)} · ${size(film.film.bytes)} · kept until ${day(film.kept_until)}`;
  return state === "failed" ? "Could not be made" : "Cancelled";
}

function faceNote({ state, film }) {
  if (state !== "done" || film.faceless === 0) return "";
  const all = film.faceless >= film.frames;
  return all ? "No face was found in it: its pictures are unchanged." : "In parts of it no face was found: those are unchanged.";
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
