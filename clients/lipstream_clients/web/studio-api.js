// The studio's routes on the server. Every error is a sentence fit to show.

import { sentence } from "./studio-words.js";

export class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const KEY = "lipstream token";
const LOST = "The server cannot be reached. Is it running?";

let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? sessionStorage.getItem(KEY) ?? "";

export const hasToken = () => token !== "";

export function setToken(given) {
  token = given;
  sessionStorage.setItem(KEY, given);
}

export const pageLink = (path) => (token ? `${path}#token=${encodeURIComponent(token)}` : path);

export const about = () => ask("GET", "about");
export const voices = async () => (await ask("GET", "voices")).voices;
export const films = async () => (await ask("GET", "jobs")).jobs;
export const order = (content) => ask("POST", "jobs", content);
export const cancel = (id) => ask("POST", `jobs/${id}/cancel`, {});
export const again = (id) => ask("POST", `jobs/${id}/again`, {});
export const remove = (id) => ask("DELETE", `jobs/${id}`);
export const drop = (id) => ask("DELETE", `media/${id}`).catch(() => {}); // it is thrown away in a day anyhow
export const say = (text, voice) => ask("POST", "speech", { text, voice });

async function ask(method, path, content) {
  const headers = authorization();
  if (content !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(`/studio/${path}`, { method, headers, body: content && JSON.stringify(content) });
  } catch {
    throw new RequestError(0, LOST);
  }
  if (!answer.ok) throw new RequestError(answer.status, errorText(answer.status, await answer.text()));
  return answer.status === 204 ? null : answer.json();
}

/** Send a file; `onPart` is told the part that is there, 0 to 1. fetch tells no progress, so: XHR. */
export function send(use, file, name, onPart) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/studio/media?${new URLSearchParams({ use, name })}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    for (const [header, value] of Object.entries(authorization())) request.setRequestHeader(header, value);
    request.upload.addEventListener("progress", ({ loaded, total }) => onPart(total ? loaded / total : 0));
    request.addEventListener("error", () => reject(new RequestError(0, `${name} could not be sent: the connection was lost.`)));
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText));
      else reject(new RequestError(request.status, errorText(request.status, request.responseText)));
    });
    request.send(file);
  });
}

const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

function errorText(status, text) {
  try {
    return sentence(JSON.parse(text).error);
  } catch {
    return `The server answered ${status}.`; // not ours: something between us spoke
  }
}
