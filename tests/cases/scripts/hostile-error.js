export default () => {
  const error = new Error('x'.repeat(1e6));
  Object.defineProperty(error, 'stack', { get() { throw new Error('no'); } });
  Object.defineProperty(error, 'name', { get() { return { toString() { throw 1; } }; } });
  throw error;
};
