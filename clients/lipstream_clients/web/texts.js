// Texts typed by the user: sent to be spoken, followed by captions, interrupted at will.

import * as view from "./view.js";

const CAPTION_STAYS_MS = 1200; // after the last word
const LONGEST_DELAY_MS = 1000; // a starved machine buffers more; captions do not wait for that
const REMEMBERED = "lipstream voice";

const { parts } = view;

export class Texts {
  #connection = null;
  #number = 0;
  #unfinished = new Set(); // ids of texts that are not heard to their end
  #sentence = null; // {start, letters}: the one that is being heard
  #fading = 0;
  #onSend;

  /** delayMs() is how much later than its event a picture is seen here. */
  constructor({ onSend, delayMs }) {
    this.#onSend = onSend;
    this.delayMs = delayMs;
    parts.textForm.addEventListener("submit", (event) => {
      event.preventDefault();
      if (parts.text.value.trim()) this.#send();
      else this.stop();
    });
    parts.text.addEventListener("keydown", (event) => this.#pressed(event));
    parts.text.addEventListener("input", () => this.#show());
    parts.voice.addEventListener("change", () => remember(parts.voice.value));
    this.#show();
  }

  /** Take part in a connection: listen to its events and ask for the voices. */
  join(connection) {
    this.#connection = connection;
    this.#forget();
    const on = (type, act) =>
      connection.addEventListener(type, ({ detail }) => {
        if (this.#connection === connection) act(detail);
      });
    on("ready", () => connection.tell({ type: "voices" }));
    on("voices", (detail) => this.#voices(detail));
    on("sentence", (detail) => this.#later(() => this.#showSpoken(detail, null)));
    on("word", (detail) => this.#later(() => this.#showSpoken(null, detail)));
    on("ended", ({ id }) => this.#later(() => this.#over(id, "ended")));
    on("interrupted", ({ id }) => this.#over(id, "interrupted"));
    on("error", (detail) => this.#refused(detail));
  }

  /** Interrupt what is being said. */
  stop() {
    if (this.#unfinished.size) this.#connection?.tell({ type: "interrupt" });
  }

  #pressed(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      parts.textForm.requestSubmit();
    }
    if (event.key === "Escape") this.stop();
  }

  async #send() {
    const text = parts.text.value.trim();
    view.showMessage(null);
    await this.#onSend();
    const id = ++this.#number;
    if (!this.#connection?.tell({ type: "speak", text, voice: parts.voice.value, id })) return;
    this.#unfinished.add(id);
    parts.text.value = "";
    this.#show();
  }

  #over(id, state) {
    this.#unfinished.delete(id);
    this.#show();
    if (this.#unfinished.size) return;
    clearTimeout(this.#fading);
    this.#fading = setTimeout(() => this.#caption(null), state === "ended" ? CAPTION_STAYS_MS : 0);
  }

  #refused({ id, message }) {
    view.showMessage(sentence(message));
    if (id !== undefined) this.#over(id, "refused");
  }

  #showSpoken(begun, word) {
    if (!this.#unfinished.size) return;
    clearTimeout(this.#fading);
    if (begun) this.#sentence = { start: begun.start, letters: Array.from(begun.text) };
    if (this.#sentence) this.#caption(this.#sentence, word);
  }

  /** The server counts code points, as Array.from does; a string counts UTF-16 units. */
  #caption(sentence, word = null) {
    if (sentence === null) return view.showCaption(null);
    const { start, letters } = sentence;
    const [from, to] = word ? [word.start - start, word.stop - start] : [0, 0];
    const cut = (a, b) => letters.slice(a, b).join("");
    view.showCaption({ before: cut(0, from), word: cut(from, to), after: cut(to) });
  }

  #voices({ voices, voice, error }) {
    const byDefault = voice ?? "en-us";
    const remembered = recall();
    const known = voices.some(({ name }) => name === remembered);
    const listed = voices.some(({ name }) => name === byDefault) ? voices : [{ name: byDefault, title: byDefault }, ...voices];
    if (error) view.showVoices([], null, sentence(error));
    else view.showVoices(listed, known ? remembered : byDefault);
    this.#show();
  }

  #later(act) {
    const connection = this.#connection;
    setTimeout(() => this.#connection === connection && act(), Math.min(this.delayMs(), LONGEST_DELAY_MS));
  }

  #forget() {
    clearTimeout(this.#fading);
    this.#unfinished.clear();
    this.#caption(null);
    this.#show();
  }

  #show() {
    view.showText({ typed: parts.text.value.trim() !== "", spoken: this.#unfinished.size > 0 });
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

function remember(voice) {
  try {
    localStorage.setItem(REMEMBERED, voice);
  } catch {
    // a browser that keeps nothing asks again next time
  }
}

function recall() {
  try {
    return localStorage.getItem(REMEMBERED);
  } catch {
    return null;
  }
}
