// Times and sizes as people read them.

export function clock(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function lasting(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 60 ? `${Math.round(seconds)} s` : `${clock(seconds)} min`;
}

export function left(seconds) {
  if (seconds < 5) return "a few seconds left";
  if (seconds < 55) return `about ${Math.ceil(seconds / 5) * 5} s left`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? `about ${minutes} min left` : `about ${(minutes / 60).toFixed(1)} h left`;
}

export function size(bytes) {
  const megabytes = bytes / 1e6;
  return megabytes < 1 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${megabytes.toFixed(megabytes < 10 ? 1 : 0)} MB`;
}

export function day(seconds) {
  return new Date(seconds * 1000).toLocaleDateString(undefined, { day: "numeric", month: "long" });
}

/** A message as a sentence; one that begins with a file's name keeps it as it is. */
export function sentence(text) {
  if (!text) return "";
  const begun = /^\p{Ll}+[ ,:]/u.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return begun + (/[.!?]$/.test(begun) ? "" : ".");
}

export function make(tag, properties = {}, ...children) {
  const { class: kind, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}
