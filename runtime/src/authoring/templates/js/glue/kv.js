// The plugin's own durable key-value space, as text. It needs `import compozy:host/kv@0.1.0;` in wit/world.wit and
// `permissions.kv` in compozy.yaml. Part of the generated project; do not edit.
import host from "compozy:host/kv@0.1.0";
import { decode, encode } from "./text.js";

/** The value of `key`, or null. */
export function get(key) {
  const bytes = host.get(key);
  return bytes === null ? null : decode(bytes);
}

/** Stores `value`; with `ttlMs` it expires that many milliseconds from now. */
export function set(key, value, ttlMs = null) {
  host.set(key, encode(String(value)), ttlMs);
}

/** Removes `key`; whether it was there. */
export function remove(key) {
  return host.delete(key);
}

/** At most `limit` keys that start with `prefix` and come after `after`. */
export function keys(prefix = "", after = null, limit = 1000) {
  return host.keys(prefix, after, limit);
}
