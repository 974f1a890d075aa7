// One WebRTC session with the server: an offer out, the avatar in, sound out when there is some.
//
// The connection is made without any sound: a place for it is offered, and a track is put there
// (`send`) when the user speaks. Nothing is renegotiated, so talking starts at once.

export class RequestError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export class Connection extends EventTarget {
  #peer = new RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle" });
  #channel = this.#peer.createDataChannel("lipstream");
  #sound = this.#peer.addTransceiver("audio", { direction: "sendrecv" });
  #picture = this.#peer.addTransceiver("video", { direction: "recvonly" });
  #location = null;
  #token;
  #avatar;
  #closed = false;

  /** `avatar` is a name, or null for the server's default. */
  constructor(token, avatar) {
    super();
    this.#token = token;
    this.#avatar = avatar;
    this.stream = new MediaStream([this.#picture.receiver.track, this.#sound.receiver.track]);
    this.#peer.addEventListener("connectionstatechange", () => this.#stateChanged());
    this.#channel.addEventListener("message", ({ data }) => this.#receive(data));
    this.#channel.addEventListener("open", () => this.#emit("ready"));
    this.#channel.addEventListener("close", () => this.#closed || this.#emit("lost")); // a server that stops says so
  }

  async open() {
    await this.#peer.setLocalDescription();
    const query = this.#avatar === null ? "" : `?${new URLSearchParams({ avatar: this.#avatar })}`;
    const answer = await fetch(`/session${query}`, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", ...this.#authorization() },
      body: this.#peer.localDescription.sdp,
    });
    if (answer.status !== 201) throw await requestError(answer);
    this.#location = answer.headers.get("Location");
    const sdp = await answer.text();
    if (this.#closed) return this.#goodbye();
    await this.#peer.setRemoteDescription({ type: "answer", sdp });
  }

  /** Send a track's sound, or none. */
  async send(track) {
    await this.#sound.sender.replaceTrack(track);
  }

  /** Send a message; return whether it could be sent. */
  tell(message) {
    if (this.#channel.readyState !== "open") return false;
    this.#channel.send(JSON.stringify(message));
    return true;
  }

  async statistics() {
    return [...(await this.#peer.getStats()).values()];
  }

  /** End it; await this where its place on the server is needed. */
  async close() {
    if (this.#closed) return;
    this.#closed = true;
    await this.#goodbye(); // first: a server that sees the peer gone has forgotten its place
    this.#peer.close();
  }

  async #goodbye() {
    if (this.#location === null) return;
    const options = { method: "DELETE", headers: this.#authorization(), keepalive: true };
    const place = this.#location;
    this.#location = null;
    await fetch(place, options).catch(() => {}); // the server notices by itself, only later
  }

  #authorization() {
    return authorization(this.#token);
  }

  #stateChanged() {
    if (this.#closed) return;
    const state = this.#peer.connectionState;
    if (state === "connected") this.#emit("open");
    if (state === "disconnected") this.#emit("unsteady");
    if (state === "failed" || state === "closed") this.#emit("lost");
  }

  #receive(text) {
    const { type, ...detail } = JSON.parse(text);
    this.#emit(type, detail);
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Names of the avatars there are, the default one's first. */
export async function avatars(token) {
  const answer = await fetch("/avatars", { headers: authorization(token) });
  if (!answer.ok) throw await requestError(answer);
  return (await answer.json()).avatars;
}

const authorization = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

async function requestError(answer) {
  const body = await answer.json().catch(() => ({}));
  const message = body.error ?? `The server answered ${answer.status}.`;
  return new RequestError(answer.status, message, Number(answer.headers.get("Retry-After")) || 5);
}
