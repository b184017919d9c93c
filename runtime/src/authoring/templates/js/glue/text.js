// UTF-8. Part of the generated project; do not edit.

/** The bytes of a text. */
export function encode(text) {
  const escaped = encodeURIComponent(text.toWellFormed());
  const bytes = [];
  for (let at = 0; at < escaped.length; at++) {
    const escape = escaped[at] === "%";
    bytes.push(escape ? parseInt(escaped.slice(at + 1, at + 3), 16) : escaped.charCodeAt(at));
    if (escape) at += 2;
  }
  return new Uint8Array(bytes);
}

/** The text of some bytes; throws a URIError when they are no UTF-8. */
export function decode(bytes) {
  const pieces = [];
  for (const byte of bytes) pieces.push("%" + byte.toString(16).padStart(2, "0"));
  return decodeURIComponent(pieces.join(""));
}
