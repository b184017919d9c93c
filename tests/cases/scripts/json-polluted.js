// call: {"input": {"__proto__": {"admin": true}, "constructor": 1, "a": {"b": [1]}, "0": "zero"}}
export default (input) => {
  const before = { admin: {}.admin, own: Object.keys(input), proto: Object.getPrototypeOf(input) === Object.prototype };
  const parsed = JSON.parse('{"__proto__": {"x": 1}, "a": [1, {"b": null}], "e": 1e3, "u": "\\u00e9"}');
  const after = { x: {}.x, own: Object.keys(parsed), e: parsed.e, u: parsed.u };
  JSON.stringify = () => '{"stolen": true}';
  Object.prototype.extra = 'everywhere';
  Array.prototype.push = () => 0;
  return { before, after, input };
};
