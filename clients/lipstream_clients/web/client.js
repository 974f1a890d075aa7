// The page's behaviour: keep a connection, put a source of sound on it, say how it goes.

import { Meter } from "./meter.js";
import { History, Numbers } from "./numbers.js";
import { Microphone, SoundFile, explain, microphones, speakers } from "./sound.js";
import { RequestError, Stage, avatars } from "./stage.js";
import { Texts } from "./texts.js";
import * as view from "./view.js";

const { parts } = view;
const RETRY_SECONDS = [1, 2, 4, 8];
const FILE_TAIL_MS = 400; // a file's last sound is still on its way when the file has ended

const meter = new Meter(view.showLevel);
let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
const asked = new URLSearchParams(location.search);
const stageName = asked.get("stage"); // null: a stage of its own
const clean = asked.get("view") === "clean"; // the picture alone, for another program or page
let avatar = asked.get("avatar"); // null: the server's default
let connection = null;
let failures = 0;
let retryTimer = 0;
let source = null; // {kind: "microphone" | "file", stream, track, close()}
let mutedByUser = null; // null: not chosen yet, so speaking turns the sound on
let serverDelayMs = 0;
let bufferMs = 0;
const lastMinute = new History();
const texts = new Texts({ onSend: () => unmuteForText(), delayMs: () => bufferMs });

// ---------------------------------------------------------------- connection

async function connect() {
  clearTimeout(retryTimer);
  connection?.close();
  view.showConnection("connecting");
  const mine = new Stage("", stageName, { token, avatar, role: clean ? "whep" : "session" });
  connection = mine;
  mine.addEventListener("open", () => opened(mine));
  mine.addEventListener("unsteady", () => connection === mine && view.showConnection("unsteady"));
  mine.addEventListener("lost", () => lost(mine));
  mine.addEventListener("stage", ({ detail }) => view.showPeople(detail));
  mine.addEventListener("floor", ({ detail }) => view.showFloor(detail));
  mine.addEventListener("state", ({ detail }) => view.showSpeaking(detail.state === "speaking"));
  mine.addEventListener("stats", ({ detail }) => (serverDelayMs = detail.delay_ms));
  texts.join(mine);
  parts.video.srcObject = null; // a stream without tracks would hold up the page's load
  view.showPicture(false);
  view.showSpeaking(false);
  onFirstPicture(() => connection === mine && view.showPicture(true));
  try {
    const stream = await mine.watch();
    if (connection !== mine) return;
    parts.video.srcObject = stream;
    readNumbers(mine);
  } catch (error) {
    if (connection === mine) refused(error);
  }
}

/** Show somebody else. The place of the one before is given back first: there may be no other. */
async function chooseAvatar(name) {
  avatar = name;
  const here = new URL(location.href);
  here.searchParams.set("avatar", name);
  history.replaceState(null, "", here);
  const before = connection;
  connection = null;
  view.showConnection("connecting");
  await before?.close();
  if (avatar === name && connection === null) await connect();
}

async function listAvatars() {
  const names = await avatars(token).catch(() => []); // what is wrong is said by connecting
  view.showAvatars(names, avatar);
}

function onFirstPicture(listener) {
  const { video } = parts;
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(listener);
  else video.addEventListener("loadeddata", listener, { once: true });
}

function opened(mine) {
  if (connection !== mine) return;
  failures = 0;
  view.showConnection("live");
  view.showMessage(null);
  view.askToken(false);
  mine.send(source?.track ?? null);
}

function readNumbers(mine) {
  const numbers = new Numbers();
  const timer = setInterval(async () => {
    if (connection !== mine) return clearInterval(timer);
    const read = numbers.read(await mine.statistics());
    if (read && connection === mine) {
      bufferMs = read.bufferMs;
      const delayMs = serverDelayMs + read.bufferMs + read.networkMs;
      view.showNumbers({ ...read, delayMs });
      view.showHistory(lastMinute.add({ delayMs, offsetMs: read.offsetMs }));
    }
  }, 1000);
}

/** It goes on trying by itself. */
function lost(mine) {
  if (connection !== mine) return;
  view.showConnection("lost");
  view.showMessage("The connection was lost. Trying again.", { retry: true });
}

function refused(error) {
  connection?.close();
  connection = null;
  if (error instanceof RequestError && error.status === 401) {
    view.showConnection("lost");
    view.showMessage(token ? "The token was not accepted." : null);
    view.askToken(true);
  } else if (error instanceof RequestError && error.status === 503) {
    retryIn(error.retryAfter, "waiting", "The server is full: every place is taken.");
  } else if (error instanceof RequestError) {
    view.showConnection("lost");
    view.showMessage(error.message, { retry: true });
  } else {
    retryIn(RETRY_SECONDS[Math.min(failures++, RETRY_SECONDS.length - 1)], "lost", "The server cannot be reached.");
  }
}

function retryIn(seconds, state, text) {
  view.showConnection(state);
  view.showMessage(`${text} Trying again in ${seconds} s.`, { retry: true });
  clearTimeout(retryTimer);
  retryTimer = setTimeout(connect, seconds * 1000);
}

// --------------------------------------------------------------------- sound

async function speak(kind, open) {
  await hush();
  texts.stop();
  try {
    source = { kind, opened: await open() };
  } catch (error) {
    source = null;
    view.showSource(null);
    view.showMessage(explain(error));
    return;
  }
  const { opened } = source;
  source.track = opened.track;
  view.showMessage(null);
  view.showSource(kind);
  if (mutedByUser === null) setMuted(false);
  opened.onEnd(() => source?.opened === opened && ended(kind));
  await connection?.send(opened.track);
  await meter.listen(opened.stream).catch(() => {}); // no loudness shown, all else goes on
}

async function hush() {
  if (source === null) return;
  source.opened.close();
  source = null;
  meter.stop();
  view.showSource(null);
  await connection?.send(null);
}

function ended(kind) {
  if (kind === "microphone") view.showMessage("The microphone was disconnected. Connect it, or choose another, and press Talk.");
  setTimeout(() => source?.kind === kind && hush(), kind === "file" ? FILE_TAIL_MS : 0);
}

async function talk() {
  if (source?.kind === "microphone") return hush();
  await speak("microphone", () => Microphone.open(parts.microphone.value));
  if (source) await listMicrophones();
}

async function speakFile(file) {
  await speak("file", () => SoundFile.open(file));
  source?.opened.play?.();
}

async function unmuteForText() {
  if (source?.kind === "file") await hush();
  if (mutedByUser === null) setMuted(false);
}

async function listMicrophones() {
  view.showMicrophones(await microphones(), source?.opened.deviceId ?? parts.microphone.value);
  if (parts.video.setSinkId) view.showSpeakers(await speakers(), parts.speaker.value);
}

function setMuted(muted) {
  parts.video.muted = muted;
  view.showMuted(muted);
}

// -------------------------------------------------------------------- events

parts.talk.addEventListener("click", talk);
parts.file.addEventListener("click", () => {
  if (source?.kind === "file") hush();
  else parts.fileInput.click();
});
parts.fileInput.addEventListener("change", () => {
  const [file] = parts.fileInput.files;
  parts.fileInput.value = "";
  if (file) speakFile(file);
});
parts.mute.addEventListener("click", () => {
  mutedByUser = !parts.video.muted;
  setMuted(mutedByUser);
});
parts.interrupt.addEventListener("click", () => connection?.tell({ type: "interrupt" }));
parts.speaker.addEventListener("change", () => parts.video.setSinkId(parts.speaker.value));
parts.microphone.addEventListener("change", () => {
  if (source?.kind === "microphone") speak("microphone", () => Microphone.open(parts.microphone.value));
});
parts.avatarName.addEventListener("change", () => chooseAvatar(parts.avatarName.value));
parts.retry.addEventListener("click", connect);
parts.tokenForm.addEventListener("submit", (event) => {
  event.preventDefault();
  token = parts.token.value;
  listAvatars();
  connect();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("button, input, select, textarea, a");
  if (event.code !== "Space" || typing || event.repeat || parts.talk.disabled) return;
  event.preventDefault();
  talk();
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file && !parts.file.disabled) speakFile(file);
});
navigator.mediaDevices?.addEventListener("devicechange", listMicrophones);
addEventListener("pagehide", () => connection?.close());
addEventListener("pageshow", (event) => event.persisted && connect());

view.showClean(clean ? (asked.get("background") ?? "transparent") : null);
setMuted(!clean);
view.showSource(null);
if (stageName === null) listAvatars(); // who is on a stage of others is not chosen here
connect();
