(host) => {
  const bytesOf = (value) => {
    if (value === undefined) return new Uint8Array(0);
    if (value instanceof Uint8Array) return value;
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    throw new TypeError('expected an ArrayBuffer or a view of one');
  };

  class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(text = '') { return host.encode(String(text)); }
    encodeInto(text, into) {
      let read = 0, written = 0;
      for (const character of String(text)) {
        const bytes = host.encode(character);
        if (written + bytes.length > into.length) break;
        into.set(bytes, written);
        written += bytes.length;
        read += character.length;
      }
      return { read, written };
    }
  }

  class TextDecoder {
    #fatal;
    #keepsMark;
    constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
      if (!['utf-8', 'utf8', 'unicode-1-1-utf-8'].includes(String(label).trim().toLowerCase())) {
        throw new RangeError(`the encoding '${label}' is not supported; only utf-8 is`);
      }
      this.#fatal = Boolean(fatal);
      this.#keepsMark = Boolean(ignoreBOM);
    }
    get encoding() { return 'utf-8'; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#keepsMark; }
    decode(bytes) {
      const text = host.decode(bytesOf(bytes), this.#fatal);
      return !this.#keepsMark && text.startsWith('\uFEFF') ? text.slice(1) : text;
    }
  }

  const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const wrong = (message) => Object.assign(new Error(message), { name: 'InvalidCharacterError' });

  const btoa = (value) => {
    const text = String(value);
    const pieces = [];
    for (let at = 0; at < text.length; at += 3) {
      const codes = [text.charCodeAt(at), text.charCodeAt(at + 1), text.charCodeAt(at + 2)];
      if (codes.some((code) => code > 255)) throw wrong('btoa takes characters up to U+00FF; encode the text first');
      const bits = (codes[0] << 16) | ((codes[1] || 0) << 8) | (codes[2] || 0);
      const left = text.length - at;
      pieces.push(
        DIGITS[bits >> 18], DIGITS[(bits >> 12) & 63],
        left > 1 ? DIGITS[(bits >> 6) & 63] : '=', left > 2 ? DIGITS[bits & 63] : '=',
      );
    }
    return pieces.join('');
  };

  const atob = (value) => {
    let text = String(value).replace(/[\t\n\f\r ]/g, '');
    if (text.length % 4 === 0) text = text.replace(/={1,2}$/, '');
    if (text.length % 4 === 1) throw wrong('the text is not base64');
    const pieces = [];
    let bits = 0, count = 0;
    for (const character of text) {
      const digit = DIGITS.indexOf(character);
      if (digit < 0) throw wrong('the text is not base64');
      bits = (bits << 6) | digit;
      count += 6;
      if (count >= 8) {
        count -= 8;
        pieces.push(String.fromCharCode((bits >> count) & 255));
        bits &= (1 << count) - 1;
      }
    }
    return pieces.join('');
  };

  return { TextEncoder, TextDecoder, atob, btoa };
}
