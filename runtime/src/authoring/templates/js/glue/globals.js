// What scripts expect to find. Part of the generated project; do not edit.
import hostLog from "compozy:host/log@0.1.0";
import random from "wasi:random/random@0.2.12";
import { decode, encode } from "./text.js";

const shown = (value) => {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value.name}: ${value.message}\n${value.stack ?? ""}`.trimEnd();
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
};
const writer = (level) => (...values) => hostLog.log(level, values.map(shown).join(" "), []);

globalThis.console = {
  trace: writer("trace"),
  debug: writer("debug"),
  log: writer("info"),
  info: writer("info"),
  warn: writer("warn"),
  error: writer("error"),
};

globalThis.TextEncoder = class TextEncoder {
  encode(text = "") {
    return encode(String(text));
  }
};

globalThis.TextDecoder = class TextDecoder {
  decode(bytes = []) {
    return decode(bytes);
  }
};

globalThis.crypto = {
  getRandomValues(array) {
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(random.getRandomBytes(array.byteLength));
    return array;
  },
  randomUUID() {
    const bytes = random.getRandomBytes(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  },
};

/**
 * Called when a call begins. The engine's own generator was seeded at build time, so every call would see the same
 * numbers; this one (xorshift128+, S. Vigna, 2014) begins anew.
 */
export function begin() {
  const seed = new BigUint64Array(new Uint8Array(random.getRandomBytes(16)).buffer);
  let [first, second] = [seed[0] | 1n, seed[1]];
  Math.random = () => {
    const [mixed, kept] = [first ^ BigInt.asUintN(64, first << 23n), second];
    first = kept;
    second = mixed ^ kept ^ (mixed >> 17n) ^ (kept >> 26n);
    return Number(BigInt.asUintN(64, second + kept) >> 11n) / 2 ** 53;
  };
}
