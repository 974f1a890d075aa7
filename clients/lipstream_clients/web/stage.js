// A stage from a browser, without dependencies: watch it, speak on it, be told what happens.
// The contract, and an example, is docs/live-api.md.
//
// `watch` offers sound and picture both ways, without any sound at first: a place for it is offered,
// and a track is put there (`send`) when the user speaks. Nothing is renegotiated, so talking starts
// at once. When no picture has come for STILL_MS it joins its stage anew, for as long as it takes;
// the stream it gave stays the same, with other tracks. `connect` takes part by words alone.
// Who draws a face of their own asks for no pictures, and for `faces`: see `heardSample`.

const STILL_MS = 1500;
const LOOK_MS = 250;
const PATIENCE_MS = 20000; // how long a new connection may take to its first picture
const AGAIN_MS = 300; // between two attempts to join anew
const SAMPLE_RATE = 48000; // of every stage
const FACE_MS = 100; // sound is sent 50 ms before the picture of its time, the next one comes 40 later
const PACKET_MS = 60; // how long what is heard is taken to go on without a packet
const ANSWER_MS = 1500; // how long the first of them waits for an answer; each further one 500 longer

export class RequestError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * Events, besides those of the contract, each with its fields in `detail`: `open` (sound and picture
 * flow), `ready` (words can be sent), `unsteady` (joining anew), `lost` (that failed: it goes on trying).
 */
export class Stage extends EventTarget {
  #server;
  #name;
  #token;
  #avatar;
  #role;
  #pictures;
  #link = null;
  #socket = null;
  #track = null;
  #timer = 0;
  #closed = false;
  #rejoining = false;

  /**
   * `name` null is a stage of its own; `role` is "session" (both ways) or "whep" (watch alone);
   * `pictures` false is sound without them, for a face that is drawn here.
   */
  constructor(server = "", name = null, { token = "", avatar = null, role = "session", pictures = true } = {}) {
    super();
    this.#server = server.replace(/\/$/, "");
    this.#name = name;
    this.#token = token;
    this.#avatar = avatar;
    this.#role = role;
    this.#pictures = pictures;
    this.stream = new MediaStream();
  }

  /** The stage's name, null while the server has not told it. */
  get name() {
    return this.#name;
  }

  /** Join with sound and picture; returns the stream. Throws RequestError when refused. */
  async watch() {
    await this.#join();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    return this.stream;
  }

  /** Take part by words alone, over a WebSocket. Resolves when they can be sent. */
  connect() {
    if (this.#name === null) throw new TypeError("a stage that is connected to needs a name");
    const url = new URL(`${this.#server}/stages/${encodeURIComponent(this.#name)}/speech`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.#socket = new WebSocket(url, this.#token ? ["lipstream", `bearer.${this.#token}`] : ["lipstream"]);
    this.#socket.addEventListener("message", ({ data }) => this.#receive(data));
    this.#socket.addEventListener("close", ({ reason }) => this.#closed || this.#emit("lost", { reason }));
    return new Promise((resolve, reject) => {
      this.#socket.addEventListener("open", () => resolve(this.#emit("ready")));
      this.#socket.addEventListener("error", () => reject(new Error("the stage cannot be reached")));
    });
  }

  /** Send a track's sound, or none. */
  async send(track) {
    this.#track = track;
    await this.#link?.sound.sender.replaceTrack(track);
  }

  /** Send a message; return whether it could be sent. */
  tell(message) {
    return this.#write(JSON.stringify(message));
  }

  speak(text, { voice, id } = {}) {
    return this.tell({ type: "speak", text, voice, id });
  }

  begin({ id, rate = 48000, format = "pcm" } = {}) {
    return this.tell({ type: "begin", id, rate, format });
  }

  /** Push an Int16Array of the utterance's sound, or a Uint8Array with a packet of Opus. */
  push(sound) {
    return this.#write(sound);
  }

  end() {
    return this.tell({ type: "end" });
  }

  /** Silence what is said; resolves to {heard_ms}. */
  async interrupt() {
    const path = `/stages/${encodeURIComponent(this.#name)}/interrupt`;
    const answer = await fetch(this.#server + path, { method: "POST", headers: this.#authorization() });
    if (!answer.ok) throw await requestError(answer);
    return answer.json();
  }

  /** Ask for `face` events with each picture, or for no more of them; again after each `ready`. */
  faces(on = true) {
    return this.tell({ type: "face", on });
  }

  /**
   * The sample that is heard now, as `face` events count them; null while that is not known.
   * A packet's place on the stage is that of its RTP timestamp, whose 32 bits come round: the one
   * nearest to the last `face` is meant.
   */
  heardSample() {
    const { clock, sound, faceSample } = this.#link ?? {};
    const [source] = (clock && sound.receiver.getSynchronizationSources()) || [];
    if (source === undefined) return null;
    const near = Math.round((faceSample * clock.rate) / SAMPLE_RATE);
    const ticks = near + ((source.rtpTimestamp - clock.timestamp - near) | 0);
    const since = performance.timeOrigin + performance.now() - source.timestamp;
    return ticks * (SAMPLE_RATE / clock.rate) + Math.min(since, PACKET_MS) * (SAMPLE_RATE / 1000);
  }

  async statistics() {
    return this.#link === null ? [] : [...(await this.#link.peer.getStats()).values()];
  }

  /** End it; await this where its place on the server is needed. */
  async close() {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#socket?.close();
    await this.#drop(this.#link);
  }

  async #join(signal) {
    const link = await this.#newLink(signal);
    try {
      await link.peer.setLocalDescription();
      const query = new URLSearchParams();
      if (this.#name !== null) query.set("stage", this.#name);
      if (this.#avatar !== null) query.set("avatar", this.#avatar);
      const answer = await fetch(`${this.#server}/${this.#role}${query.size ? `?${query}` : ""}`, {
        method: "POST",
        headers: { "Content-Type": "application/sdp", ...this.#authorization() },
        body: link.peer.localDescription.sdp,
        signal,
      });
      if (answer.status !== 201) throw await requestError(answer);
      link.location = new URL(answer.headers.get("Location"), answer.url);
      const sdp = await answer.text();
      if (this.#closed) return this.#drop(link);
      await link.peer.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      await this.#drop(link);
      throw error;
    }
    const before = this.#link;
    this.#link = link;
    for (const track of this.stream.getTracks()) this.stream.removeTrack(track);
    for (const part of [link.picture, link.sound]) if (part) this.stream.addTrack(part.receiver.track);
    this.#drop(before);
  }

  async #newLink(signal) {
    const bundlePolicy = "max-bundle";
    const asked = this.#iceServers(signal); // meanwhile the rest is made
    const peer = new RTCPeerConnection({ bundlePolicy });
    const both = this.#role === "session";
    const sound = peer.addTransceiver("audio", { direction: both ? "sendrecv" : "recvonly" });
    const picture = this.#pictures ? peer.addTransceiver("video", { direction: "recvonly" }) : null;
    const channel = peer.createDataChannel("lipstream");
    // Pictures hold the sound up until they are there; `face` events have to be there, too.
    if (!this.#pictures) sound.receiver.jitterBufferTarget = FACE_MS;
    const drain = soundTaken(sound.receiver.track);
    const link = { peer, channel, sound, picture, drain, location: null, clock: null, faceSample: 0 };
    Object.assign(link, { frames: 0, movedAt: performance.now(), live: false });
    if (both && this.#track) await sound.sender.replaceTrack(this.#track);
    const mine = (act) => (event) => this.#link === link && !this.#closed && act(event);
    peer.addEventListener("connectionstatechange", mine(() => this.#stateChanged(link)));
    channel.addEventListener("message", mine(({ data }) => this.#receive(data)));
    channel.addEventListener("open", mine(() => this.#emit("ready")));
    channel.addEventListener("close", mine(() => this.#rejoin())); // a server that stops says so
    peer.setConfiguration({ bundlePolicy, iceServers: await asked });
    return link;
  }

  /** Servers that help through firewalls, as WHIP and WHEP name them (RFC 9725, 4.6). */
  async #iceServers(signal) {
    const options = { method: "OPTIONS", headers: this.#authorization(), signal };
    const answer = await fetch(`${this.#server}/${this.#role}`, options).catch(() => null);
    return iceServersOf(answer?.headers.get("Link") ?? "");
  }

  #stateChanged({ peer }) {
    if (peer.connectionState === "connected") this.#emit("open");
    if (peer.connectionState === "failed" || peer.connectionState === "closed") this.#rejoin();
  }

  async #look() {
    const link = this.#link;
    if (link === null || this.#rejoining || this.#closed) return;
    const reports = [...(await link.peer.getStats()).values()];
    const [kind, count] = this.#pictures ? ["video", "framesReceived"] : ["audio", "packetsReceived"];
    const frames = reports.find((one) => one.type === "inbound-rtp" && one.kind === kind)?.[count] ?? 0;
    const now = performance.now();
    if (frames > link.frames) [link.frames, link.movedAt, link.live] = [frames, now, true];
    else if (now - link.movedAt > (link.live ? STILL_MS : PATIENCE_MS)) this.#rejoin();
  }

  async #rejoin() {
    if (this.#rejoining || this.#closed) return;
    this.#rejoining = true;
    this.#emit("unsteady");
    for (let attempt = 0; !this.#closed; attempt += 1) {
      // A request that went out while the path was gone would come back seconds after it is there.
      const signal = AbortSignal.timeout(ANSWER_MS + attempt * 500);
      const refused = await this.#join(signal).then(() => null, (error) => error);
      if (refused === null) break;
      if (attempt === 0) this.#emit("lost", { reason: refused.message });
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
    this.#rejoining = false;
  }

  async #drop(link) {
    if (!link) return;
    const place = link.location;
    link.location = null;
    link.drain.srcObject = null;
    const options = { method: "DELETE", headers: this.#authorization(), keepalive: true };
    // First: a server that sees the peer gone has forgotten its place. It notices by itself, only later.
    if (place !== null) await fetch(place, options).catch(() => {});
    link.peer.close();
  }

  #write(message) {
    const channel = this.#link?.channel;
    const open = channel?.readyState === "open" ? channel : this.#socket?.readyState === 1 ? this.#socket : null;
    open?.send(message);
    return open !== null;
  }

  #receive(text) {
    const { type, ...detail } = JSON.parse(text);
    if (type === "stage") this.#name = detail.name;
    if (type === "clock" && this.#link !== null) this.#link.clock = detail;
    if (type === "face" && this.#link !== null) this.#link.faceSample = detail.sample;
    this.#emit(type, detail);
  }

  #authorization() {
    return authorization(this.#token);
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Have a track's sound taken from the first packet on, heard by nobody. A video element takes none
 * before its first picture; Chromium keeps what came until then, and is late by it for ten seconds.
 */
function soundTaken(track) {
  const player = new Audio();
  player.muted = true;
  player.srcObject = new MediaStream([track]);
  player.play().catch(() => {}); // it is late, then
  return player;
}

/** Names of the avatars there are, the default one's first. */
export async function avatars(token) {
  const answer = await fetch("/avatars", { headers: authorization(token) });
  if (!answer.ok) throw await requestError(answer);
  return (await answer.json()).avatars;
}

/** Read a Link header: <turn:host:3478>; rel="ice-server"; username="u"; credential="c", ... */
export function iceServersOf(links) {
  const found = [...links.matchAll(/<([^>]*)>([^<]*)/g)].filter(([, , rest]) => /rel="?ice-server"?/.test(rest));
  return found.map(([, urls, rest]) => {
    const field = (name) => rest.match(new RegExp(`${name}="([^"]*)"`))?.[1];
    const [username, credential] = [field("username"), field("credential")];
    return username === undefined ? { urls } : { urls, username, credential };
  });
}

const authorization = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

async function requestError(answer) {
  const body = await answer.json().catch(() => ({}));
  const message = body.error ?? `The server answered ${answer.status}.`;
  return new RequestError(answer.status, message, Number(answer.headers.get("Retry-After")) || 5);
}
