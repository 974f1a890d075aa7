// The studio page: choose who speaks, say what, when, and look after the films.

import * as api from "./studio-api.js";
import { Films } from "./studio-films.js";
import { lengthOf, pieceRow } from "./studio-pieces.js";
import { Recorder, explainRecording } from "./studio-record.js";
import { Timeline, sent } from "./studio-timeline.js";
import { People } from "./studio-who.js";
import { clock, lasting, make } from "./studio-words.js";

const element = (id) => document.getElementById(id);
const POLL_MS = 1000;
const UNDER_WAY = new Set(["waiting", "working"]);
const DRAFT = "lipstream studio text";

let limits = null;
let face = null; // {avatar} or {media}
let pieces = []; // {media, at, until, from, to, who}: see studio-pieces.js
let busy = 0; // files on their way
let polling = 0;
let asked = null; // the film asked for last, to be shown when it is done
let preview = null; // the last preview, which the next one replaces
let settling = 0;
const history = []; // what was chosen before, the newest last
const MOST_UNDONE = 50;
const SETTLED_MS = 400;

const timeline = new Timeline(element("timeline"));
const people = new People({
  seen: element("face-seen"),
  marks: element("face-marks"),
  choice: element("whose"),
  list: element("who"),
  follow: element("follow"),
});
const films = new Films(element("films"));
const recorder = new Recorder(showLevel, (seconds) => (element("record-time").textContent = clock(seconds)));

// -------------------------------------------------------------------- showing

function trouble(place, text) {
  const shown = element(`${place}-trouble`);
  shown.textContent = text ?? "";
  shown.hidden = !text;
}

function announce(text) {
  element("status").textContent = text;
}

function failed(place, error) {
  if (error instanceof api.RequestError && error.status === 401) return askToken();
  if (!(error instanceof api.RequestError)) console.error(error);
  trouble(place, error.message);
}

function showLevel(level) {
  document.body.style.setProperty("--level", level.toFixed(3));
  element("meter").setAttribute("aria-valuenow", String(Math.round(level * 100)));
}

function showFace() {
  const media = face?.media;
  element("face-seen").hidden = !media;
  if (media) element("face-picture").src = media.poster;
  people.show(media ?? null);
  element("face-drop").classList.toggle("full", Boolean(media));
  element("face-plea").hidden = Boolean(media);
  element("face-name").hidden = !media;
  element("face-name").textContent = media ? `${media.name}${media.seconds ? ` · ${lasting(media.seconds)}` : ""}` : "";
  element("face-choose").textContent = media ? "Choose another" : "Choose a file";
  for (const input of element("avatars").querySelectorAll("input")) input.checked = input.value === face?.avatar;
  element("still-pick").hidden = media?.kind !== "picture";
}

const film = () => (face?.media?.kind === "film" ? face.media : null);
const alone = () => pieces.length === 1 && pieces[0].at === 0 && pieces[0].until === null;
const asLongAsSpeech = () => film() !== null && alone() && element("length").querySelector(":checked").value === "speech";

/** How many people a piece may choose among; one piece alone needs no choice of its own. */
const speakers = () => (film() !== null && (pieces.length > 1 || pieces.some(({ who }) => who !== null)) ? people.places : 0);

function showSpeech() {
  const tell = { changed: trimmed, remove, trouble: (text) => trouble("speech", text) };
  const rows = pieces.map((piece) => (piece.row ??= pieceRow(piece, tell))); // kept: one may be open, or heard
  element("pieces").replaceChildren(...rows);
  showTime();
}

/** Note what is chosen, once it rests: a drag is one step. Files stay for a day, so it can come back. */
function remember() {
  clearTimeout(settling);
  settling = setTimeout(settle, SETTLED_MS);
}

/** Change at once what is chosen: a step, however soon the next one follows. */
function step(change) {
  settle(); // what rested before is a step of its own
  change();
  settle();
}

function settle() {
  clearTimeout(settling);
  const now = snapshot();
  if (history.at(-1)?.text === now.text) return;
  history.push(now);
  history.splice(0, history.length - MOST_UNDONE);
  element("undo").disabled = history.length < 2;
}

function snapshot() {
  const copies = pieces.map(({ media, at, until, from, to, who }) => ({ media, at, until, from, to, who }));
  const length = element("length").querySelector(":checked").value;
  const text = JSON.stringify([face?.media?.id ?? face?.avatar, length, copies.map(({ media, ...rest }) => [media.id, rest])]);
  return { face, pieces: copies, length, text };
}

function undo() {
  settle();
  if (history.length < 2) return;
  history.pop();
  const was = history.at(-1);
  const other = was.face !== face;
  face = was.face;
  pieces = was.pieces.map((piece) => ({ ...piece }));
  element("length").querySelector(`[value=${was.length}]`).checked = true;
  if (other) showFace();
  showSpeech();
  clearTimeout(settling);
  element("undo").disabled = history.length < 2;
  announce("Undone.");
}

function remove(piece) {
  step(() => {
    pieces = pieces.filter((one) => one !== piece);
    showSpeech();
  });
  announce(`${piece.media.name} was removed.`);
  element("text").focus();
}

function trimmed(piece) {
  if (piece.until !== null && piece.until >= piece.at + lengthOf(piece)) piece.until = null;
  showTime();
}

function showTime() {
  const timed = film() !== null || pieces.length > 1;
  element("time-card").hidden = !timed || pieces.length === 0;
  element("length").hidden = film() === null || !alone();
  const whole = asLongAsSpeech();
  element("ends-pick").hidden = !whole;
  timeline.show(pieces, { fps: film()?.fps ?? 25, seconds: film()?.seconds ?? null, fixed: whole || !timed, places: speakers() });
  showTrouble();
  remember();
}

function showTrouble() {
  const wrong = asLongAsSpeech() ? null : timeline.trouble();
  trouble("time", wrong?.text);
}

// ------------------------------------------------------------------- choosing

async function takeFace(file) {
  if (!fits(file, "face")) return;
  await busyWith("face", async () => {
    const media = await api.send("face", file, file.name, (part) => showPart("face", part));
    setFace({ media });
    announce(`${media.name} is there.`);
  });
}

function setFace(chosen) {
  trouble("face", null);
  trouble("make", null);
  step(() => {
    face = chosen;
    for (const piece of pieces) piece.who = null; // it meant somebody in the face before
    showFace();
    chooseLength();
    showTime();
  });
}

/** A film shorter than its only piece of speech had better be as long as that. */
function chooseLength() {
  const longer = film() !== null && pieces.length === 1 && lengthOf(pieces[0]) > film().seconds + 1e-3;
  element("length").querySelector(`[value=${longer ? "speech" : "film"}]`).checked = true;
}

async function takeSound(file, name) {
  if (!fits(file, "speech")) return;
  await busyWith("speech", async () => addPiece(await api.send("sound", file, name, (part) => showPart("sound", part))));
}

async function takeText() {
  const text = element("text").value.trim();
  if (!text) return trouble("speech", "There is no text yet: type what is to be said.");
  await busyWith("speech", async () => {
    addPiece(await api.say(text, element("voice").value || null));
    element("text").value = "";
    sessionStorage.removeItem(DRAFT);
  });
}

function addPiece(media) {
  trouble("make", null);
  step(() => {
    const piece = { media, at: 0, until: null, from: 0, to: null, who: null };
    timeline.show(pieces, { fps: film()?.fps ?? 25, seconds: film()?.seconds ?? null, fixed: false });
    piece.at = timeline.free();
    pieces.push(piece);
    chooseLength();
    showSpeech();
  });
  announce(`${media.name}, ${lasting(media.seconds)}, was added.`);
}

function fits(file, place) {
  if (limits === null || file.size <= limits.upload_mb * 1e6) return true;
  trouble(place, `${file.name} is larger than ${limits.upload_mb} MB, the most that is taken here: make it shorter or compress it more.`);
  return false;
}

function showPart(place, part) {
  const bar = element(`${place}-progress`);
  if (part < 1) bar.value = part;
  else bar.removeAttribute("value"); // sent; now it is looked into
}

async function busyWith(place, work) {
  trouble(place, null);
  const bar = element(`${place === "face" ? "face" : "sound"}-progress`);
  bar.removeAttribute("value");
  bar.hidden = false;
  disableMaking(++busy > 0);
  try {
    await work();
    return true;
  } catch (error) {
    failed(place, error);
    return false;
  } finally {
    bar.hidden = true;
    disableMaking(--busy > 0);
  }
}

async function record() {
  if (recorder.running) return recorder.stop();
  trouble("speech", null);
  try {
    await recorder.start(recorded);
    showRecording(true);
  } catch (error) {
    recorder.stop();
    trouble("speech", explainRecording(error));
  }
}

function recorded(sound) {
  showRecording(false);
  const name = `Recording ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
  const ending = sound.type.includes("mp4") ? "m4a" : sound.type.includes("ogg") ? "ogg" : "webm";
  takeSound(sound, `${name}.${ending}`);
}

function showRecording(running) {
  element("record").setAttribute("aria-pressed", String(running));
  element("record-label").textContent = running ? "Stop and add" : "Start recording";
  if (!running) element("record-time").textContent = "0:00";
  announce(running ? "Recording." : "");
}

// --------------------------------------------------------------------- making

async function makeFilm(small) {
  trouble("make", null);
  if (recorder.running) return trouble("make", "A recording is still running: stop it first.");
  if (element("text").value.trim() && !(await addTyped())) return;
  if (face === null) return need("face", "Choose who speaks first: a picture, a film, or somebody we have.");
  if (pieces.length === 0) return need("speech", "Nothing is said yet: type, record or add some speech.");
  disableMaking(true);
  try {
    const job = await api.order({ ...orderOf(), preview: small });
    asked = job.id;
    announce(small ? "A preview is being made." : "The film is being made.");
    if (preview !== null) await discard(preview);
    preview = small ? job.id : null;
    if (!small) step(clearPieces);
    await poll();
    element("films-part").scrollIntoView({ block: "nearest", behavior: "smooth" });
  } catch (error) {
    failed("make", error);
  } finally {
    disableMaking(busy > 0);
  }
}

function clearPieces() {
  pieces = [];
  showSpeech();
}

/** Delete a preview, which may be under way. */
async function discard(id) {
  await api.cancel(id).catch(() => {}); // it is made already
  await api.remove(id).catch(() => {}); // its owner has done so
}

/** Whoever types and presses Make means the text to be in the film. */
async function addTyped() {
  await takeText();
  return element("text").value.trim() === "";
}

function disableMaking(disabled) {
  for (const id of ["make", "preview"]) element(id).disabled = disabled;
}

function need(place, text) {
  trouble("make", text);
  element(place === "face" ? "face-choose" : "text").focus();
}

function orderOf() {
  const order = {
    face: face.media ? { media: face.media.id } : { avatar: face.avatar },
    ...people.order,
    speech: pieces.map((piece) => sent(asLongAsSpeech() ? { ...piece, who: null } : piece)), // as it is shown
    quality: element("quality").value,
    captions: element("captions").checked,
  };
  if (asLongAsSpeech()) Object.assign(order, { length: "speech", ends: element("ends").value });
  if (face.media?.kind === "picture") order.still = element("still").checked;
  return order;
}

// ---------------------------------------------------------------------- films

async function poll() {
  clearTimeout(polling);
  let again = true;
  try {
    const all = await api.films();
    films.show(all);
    element("nothing").hidden = all.length > 0;
    trouble("films", null);
    again = all.some((one) => UNDER_WAY.has(one.state));
  } catch (error) {
    failed("films", error);
    again = error.status === 0;
  }
  if (again && !document.hidden) polling = setTimeout(poll, POLL_MS);
}

films.addEventListener("ask", async ({ detail: { what, id } }) => {
  try {
    await { cancel: api.cancel, again: api.again, remove: api.remove }[what](id);
    if (what === "again") asked = id;
  } catch (error) {
    failed("films", error);
  }
  await poll();
});

films.addEventListener("turned", ({ detail: { id, state, title } }) => {
  if (state === "done") announce(`The film ${title} is finished.`);
  if (state === "failed") announce(`The film ${title} could not be made.`);
  if (state === "done" && id === asked) films.open(id);
});

films.addEventListener("growing", ({ detail: { id } }) => id === asked && films.open(id));

// ------------------------------------------------------------------- starting

async function start() {
  try {
    const said = await api.about();
    limits = said.limits;
    element("token-form").hidden = true;
    for (const part of ["compose", "films-part"]) element(part).hidden = false;
    showAvatars(said.avatars);
    showLimits();
    showFace();
    showSpeech();
    await Promise.all([poll(), showVoices()]);
  } catch (error) {
    failed("make", error);
  }
}

function showAvatars(avatars) {
  const choices = avatars.map(({ name, poster }) => {
    const input = make("input", { type: "radio", name: "avatar", value: name });
    input.addEventListener("change", () => setFace({ avatar: name }));
    const title = name[0].toUpperCase() + name.slice(1);
    return make("label", {}, input, make("img", { src: poster, alt: "" }), make("span", { textContent: title }));
  });
  element("avatars").replaceChildren(element("avatars").firstElementChild, ...choices);
}

function showLimits() {
  const { upload_mb, film_seconds, keep_days } = limits;
  element("limits").textContent = `Files up to ${upload_mb} MB, films up to ${Math.round(film_seconds / 6) / 10} minutes. Films made here carry a mark that their mouths are synthetic.`;
  element("rule").textContent = `Films are deleted ${keep_days} days after they are finished.`;
}

async function showVoices() {
  const select = element("voice");
  try {
    const cards = await api.voices();
    const here = navigator.language.toLowerCase();
    const near = cards.filter(({ language }) => language && language.toLowerCase().split("-")[0] === here.split("-")[0]);
    const options = (some) => some.map(({ name, title }) => new Option(title, name));
    const groups = [[near, "Your language"], [cards.filter((card) => !near.includes(card)), "Others"]];
    select.replaceChildren(
      ...groups.filter(([some]) => some.length > 0).map(([some, label]) => make("optgroup", { label }, ...options(some))),
    );
    const best = near.find(({ language }) => language.toLowerCase() === here) ?? near[0];
    if (best) select.value = best.name;
  } catch (error) {
    if (error.status === 401) throw error;
    select.closest("label").hidden = true;
    for (const id of ["text", "say"]) element(id).disabled = true;
    element("voice-hint").hidden = false;
    element("voice-hint").textContent = `Typed text cannot be spoken here. ${error.message} You can record or add a file.`;
  }
}

function askToken() {
  trouble("token", api.hasToken() ? "The token was not accepted." : null);
  for (const part of ["compose", "films-part"]) element(part).hidden = true;
  element("token-form").hidden = false;
  element("token").focus();
}

function takeFiles(place, use) {
  element(`${place}-choose`).addEventListener("click", () => element(`${place}-input`).click());
  element(`${place}-input`).addEventListener("change", ({ target }) => {
    const [file] = target.files;
    if (file) use(file);
    target.value = "";
  });
}

function dropped(event) {
  event.preventDefault();
  document.body.classList.remove("over");
  const onSpeech = event.target.closest?.("#speech-card") !== null;
  for (const file of event.dataTransfer.files) {
    if (file.type.startsWith("audio/") || onSpeech) takeSound(file, file.name);
    else takeFace(file);
  }
}

function chooseWay(way) {
  for (const part of document.querySelectorAll(".way")) part.hidden = part.dataset.way !== way;
}

takeFiles("face", takeFace);
takeFiles("sound", (file) => takeSound(file, file.name));
element("say").addEventListener("click", takeText);
element("record").addEventListener("click", record);
element("make").addEventListener("click", () => makeFilm(false));
element("preview").addEventListener("click", () => makeFilm(true));
element("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  const writing = event.target.closest?.("input:not([type=radio], [type=checkbox], [type=range]), textarea");
  if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || writing) return;
  event.preventDefault();
  undo();
});
element("length").addEventListener("change", showTime);
timeline.addEventListener("change", () => {
  element("length").hidden = film() === null || !alone();
  showTrouble();
  remember();
});
for (const radio of document.querySelectorAll("[name=way]")) radio.addEventListener("change", () => chooseWay(radio.value));
element("text").value = sessionStorage.getItem(DRAFT) ?? "";
element("text").addEventListener("input", ({ target }) => sessionStorage.setItem(DRAFT, target.value));
element("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.setToken(element("token").value);
  element("live").href = api.pageLink("/");
  start();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? document.body.classList.remove("over"));
document.addEventListener("drop", dropped);
document.addEventListener("visibilitychange", () => document.hidden || poll());
addEventListener("pagehide", () => recorder.stop());

element("live").href = api.pageLink("/");
start();
