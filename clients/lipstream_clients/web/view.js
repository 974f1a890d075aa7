// What the user sees: the only module that touches the document.

const element = (id) => document.getElementById(id);
const page = document.body;

const HINTS = {
  none: "Talk, or type something: the avatar says it. Headphones keep it from hearing itself.",
  microphone: "Speak: the avatar says it a moment later.",
  file: "The avatar speaks the file.",
};

const LINKS = {
  connecting: "Connecting",
  live: "Live",
  unsteady: "Connection unsteady",
  waiting: "Waiting for a place",
  lost: "Not connected",
};

export const parts = {
  video: element("avatar"),
  talk: element("talk"),
  file: element("file"),
  fileInput: element("file-input"),
  mute: element("mute"),
  text: element("text"),
  textForm: element("text-form"),
  say: element("say"),
  voice: element("voice"),
  avatarName: element("avatar-name"),
  microphone: element("microphone"),
  speaker: element("speaker"),
  interrupt: element("interrupt"),
  retry: element("retry"),
  tokenForm: element("token-form"),
  token: element("token"),
};

export function showConnection(state) {
  page.dataset.connection = state;
  element("link").textContent = LINKS[state];
  const usable = state === "live" || state === "unsteady";
  parts.talk.disabled = !usable;
  parts.file.disabled = !usable;
  parts.text.disabled = !usable || !parts.voice.options.length;
  if (!usable) showNumbers(null);
}

export function showSource(source) {
  page.dataset.source = source ?? "none";
  const talking = source === "microphone";
  parts.talk.setAttribute("aria-pressed", String(talking));
  element("talk-label").textContent = talking ? "Stop" : "Talk";
  element("file-label").textContent = source === "file" ? "Stop the file" : "Speak a sound file";
  element("hint").textContent = HINTS[source ?? "none"];
  announce(talking ? "The microphone is on." : source === "file" ? "Speaking the file." : "");
}

export function showSpeaking(speaking) {
  page.dataset.speaking = String(speaking);
}

export function showPicture(there) {
  page.dataset.picture = String(there);
}

export function showMuted(muted) {
  page.dataset.muted = String(muted);
  element("mute-label").textContent = muted ? "Sound off" : "Sound on";
  parts.mute.setAttribute("aria-label", muted ? "Sound is off: hear the avatar" : "Sound is on: mute the avatar");
}

export function showLevel(level) {
  const percent = Math.round(level * 100);
  page.style.setProperty("--level", level.toFixed(3));
  element("meter").setAttribute("aria-valuenow", String(percent));
}

export function showMessage(text, { retry = false } = {}) {
  element("message").hidden = text === null;
  element("message-text").textContent = text ?? "";
  parts.retry.hidden = !retry;
}

export function askToken(asked) {
  parts.tokenForm.hidden = !asked;
  if (asked) parts.token.focus();
}

export function showMicrophones(devices, chosen) {
  element("microphone-choice").hidden = devices.length === 0;
  const options = devices.map((device, at) => new Option(device.label || `Microphone ${at + 1}`, device.deviceId));
  parts.microphone.replaceChildren(...options);
  if (chosen) parts.microphone.value = chosen;
}

/** The first is the default. One alone is no choice. */
export function showAvatars(names, chosen) {
  const title = (name) => name[0].toUpperCase() + name.slice(1);
  parts.avatarName.replaceChildren(...names.map((name) => new Option(title(name), name)));
  parts.avatarName.value = chosen ?? names[0];
  element("avatar-choice").hidden = names.length < 2;
}

export function showVoices(voices, chosen, missing = "") {
  const options = voices.map(({ name, title }) => new Option(title, name));
  options.sort((a, b) => a.text.localeCompare(b.text));
  parts.voice.replaceChildren(...options);
  parts.voice.value = chosen;
  element("voice-choice").hidden = voices.length === 0;
  parts.text.disabled = voices.length === 0;
  parts.text.title = missing;
  parts.text.placeholder = voices.length ? "Type what to say" : "No voice here to read text";
}

/** What the button beside the text does: say what is typed, else stop what is spoken. */
export function showText({ typed, spoken }) {
  const stops = spoken && !typed;
  parts.say.disabled = parts.text.disabled || !(typed || spoken);
  parts.say.dataset.does = stops ? "stop" : "say";
  parts.say.setAttribute("aria-label", stops ? "Stop speaking" : "Say it");
  parts.say.title = stops ? "Stop speaking (Esc)" : "Say it (Enter)";
}

export function showCaption(caption) {
  element("caption").hidden = caption === null;
  element("caption-before").textContent = caption?.before ?? "";
  element("caption-word").textContent = caption?.word ?? "";
  element("caption-after").textContent = caption?.after ?? "";
}

export function showNumbers(numbers) {
  const offset = numbers?.offsetMs ?? null;
  element("fps").textContent = numbers === null ? "–" : `${numbers.fps.toFixed(1)} fps`;
  element("delay").textContent = numbers?.delayMs ? `${Math.round(numbers.delayMs)} ms` : "–";
  element("offset").textContent = offset === null ? "–" : `${signed(Math.round(offset))} ms`;
}

const HOLDERS = {
  speech: "a program is speaking",
  text: "a text is spoken",
  live: "a microphone is heard",
  nobody: "nobody speaks",
};

/** Who takes part; one alone on a stage of its own is not told so. */
export function showPeople({ members, sources, floor, holder }) {
  element("people").hidden = members < 2 && sources.length < 2;
  element("watching").textContent = `${members} here`;
  showFloor({ floor, holder });
}

export function showFloor({ floor, holder }) {
  page.dataset.floor = floor;
  element("floor").textContent = HOLDERS[floor] + (holder ? ` (${holder})` : "");
  parts.interrupt.hidden = floor !== "speech";
}

export function showHistory({ delay, offset }) {
  element("delay-line").setAttribute("points", delay);
  element("offset-line").setAttribute("points", offset);
}

export function showSpeakers(devices, chosen) {
  element("speaker-choice").hidden = devices.length < 2;
  parts.speaker.replaceChildren(...devices.map((device) => new Option(device.label || "Loudspeaker", device.deviceId)));
  if (devices.some((device) => device.deviceId === chosen)) parts.speaker.value = chosen;
}

/** The picture alone on a colour; null is the page. */
export function showClean(background) {
  page.dataset.view = background === null ? "page" : "clean";
  if (background !== null) document.documentElement.style.background = background;
}

function announce(text) {
  element("status").textContent = text;
}

const signed = (number) => (number > 0 ? `+${number}` : String(number).replace("-", "−"));
