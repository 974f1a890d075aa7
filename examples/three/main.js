// A head that speaks: joins a stage, plays its sound, and moves its lips as that sound is heard.

import { LipTrack } from "./lips.js";
import { Scene } from "./scene.js";

const asked = new URLSearchParams(location.search);
const server = asked.get("server") ?? "http://127.0.0.1:8080";
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
const element = (id) => document.getElementById(id);
const scene = new Scene(element("head"));
const lips = new LipTrack();
let stage = null;
let microphone = null;

async function join() {
  const { Stage } = await import(`${server}/stage.js`);
  stage = new Stage(server, asked.get("stage"), { token, pictures: false });
  stage.addEventListener("ready", () => stage.faces());
  stage.addEventListener("face", ({ detail }) => lips.add(detail));
  stage.addEventListener("unsteady", () => lips.clear());
  stage.addEventListener("error", ({ detail }) => tell(detail.message));
  stage.addEventListener("state", ({ detail }) => (document.body.dataset.state = detail.state));
  element("sound").srcObject = await stage.watch();
  await element("sound").play();
}

async function talk() {
  if (microphone) {
    for (const track of microphone.getTracks()) track.stop();
    microphone = null;
  } else {
    microphone = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true } });
  }
  await stage.send(microphone?.getAudioTracks()[0] ?? null);
  element("talk").setAttribute("aria-pressed", String(microphone !== null));
}

const tell = (text) => (element("message").textContent = text);
const attempt = (act) => () => act().then(() => tell(""), (error) => tell(error.message));

/** The units as the sound is heard; before that is known, the newest. */
function unitsNow() {
  const sample = stage?.heardSample() ?? null;
  return sample === null ? lips.newest : lips.at(sample);
}

function draw(now) {
  scene.draw(unitsNow(), now);
  requestAnimationFrame(draw);
}

element("begin").addEventListener(
  "click",
  attempt(async () => {
    element("begin").disabled = true;
    await join().finally(() => (element("begin").disabled = false));
    document.body.dataset.joined = "true";
    element("text").focus();
  }),
);
element("talk").addEventListener("click", attempt(talk));
element("stop").addEventListener("click", attempt(() => stage.interrupt()));
element("say").addEventListener("submit", (event) => {
  event.preventDefault();
  if (element("text").value) stage.speak(element("text").value);
  element("text").value = "";
});
addEventListener("pagehide", () => stage?.close());

await scene.load("./head.glb");
document.body.dataset.loaded = "true";
requestAnimationFrame(draw);
window.example = { scene, lips, unitsNow, heardSample: () => stage?.heardSample() ?? null }; // for the console
