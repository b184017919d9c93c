(host) => {
  class DOMException extends Error {
    #name;
    constructor(message = '', name = 'Error') {
      super(message);
      this.#name = name;
    }
    get name() { return this.#name; }
  }

  const VIEWS = [
    Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array,
    Float32Array, Float64Array, BigInt64Array, BigUint64Array, DataView,
  ];
  const ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
  const refuse = (value) => {
    throw new DOMException(`${typeof value === 'symbol' ? 'a symbol' : 'a function'} cannot be cloned`, 'DataCloneError');
  };

  const clone = (value, known) => {
    if (typeof value === 'function' || typeof value === 'symbol') refuse(value);
    if (typeof value !== 'object' || value === null) return value;
    if (known.has(value)) return known.get(value);
    const keep = (copy) => {
      known.set(value, copy);
      return copy;
    };
    if (value instanceof Date) return keep(new Date(value.getTime()));
    if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
    if (value instanceof Boolean || value instanceof Number || value instanceof String) return keep(Object(value.valueOf()));
    if (value instanceof ArrayBuffer) return keep(value.slice(0));
    const View = VIEWS.find((View) => value instanceof View);
    if (View) {
      const buffer = clone(value.buffer, known);
      return keep(new View(buffer, value.byteOffset, View === DataView ? value.byteLength : value.length));
    }
    if (value instanceof Map) {
      const copy = keep(new Map());
      for (const [key, member] of [...value]) copy.set(clone(key, known), clone(member, known));
      return copy;
    }
    if (value instanceof Set) {
      const copy = keep(new Set());
      for (const member of [...value]) copy.add(clone(member, known));
      return copy;
    }
    if (value instanceof Error) {
      const copy = keep(new (ERRORS[value.name] ?? Error)(value.message));
      if ('cause' in value) copy.cause = clone(value.cause, known);
      return copy;
    }
    if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) {
      throw new DOMException('a value of this kind cannot be cloned', 'DataCloneError');
    }
    const copy = keep(Array.isArray(value) ? new Array(value.length) : {});
    for (const key of Object.keys(value)) {
      const member = clone(value[key], known);
      Object.defineProperty(copy, key, { value: member, writable: true, enumerable: true, configurable: true });
    }
    return copy;
  };

  const crypto = {
    getRandomValues(into) {
      if (!ArrayBuffer.isView(into)) throw new TypeError('getRandomValues needs a typed array');
      new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(host.random(into.byteLength));
      return into;
    },
    randomUUID() {
      const bytes = host.random(16);
      bytes[6] = (bytes[6] & 0x0f) | 0x40;
      bytes[8] = (bytes[8] & 0x3f) | 0x80;
      const text = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
      return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join('-');
    },
  };

  return {
    structuredClone(value) {
      if (arguments.length === 0) throw new TypeError('structuredClone needs a value');
      return clone(value, new Map());
    },
    crypto,
    DOMException,
  };
}
