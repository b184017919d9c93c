export default () => {
  const original = { a: [1, { b: new Date(5) }], m: new Map([['k', new Set([1])]]), bytes: new Uint8Array([1, 2]), e: new TypeError('x') };
  original.self = original;
  const copy = structuredClone(original);
  let refused;
  try { structuredClone({ f() {} }); } catch (error) { refused = `${error.name}: ${error.message}`; }
  return {
    different: copy !== original && copy.a !== original.a, self: copy.self === copy, date: copy.a[1].b.getTime(),
    set: [...copy.m.get('k')], bytes: [...copy.bytes], error: `${copy.e.name}: ${copy.e.message}`, refused,
  };
};
