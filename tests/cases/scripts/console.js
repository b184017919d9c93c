export default () => {
  const cycle = { big: 1n };
  cycle.self = cycle;
  console.log('text', 1, null, undefined, [1, 'a'], { a: 1 }, cycle, 10n, Symbol('s'), () => 1, new Map([[1, 2]]));
  console.error(new TypeError('shown'));
  console.assert(false, 'no');
  for (const level of ['debug', 'info', 'warn', 'trace']) console[level](level);
  return 'logged';
};
