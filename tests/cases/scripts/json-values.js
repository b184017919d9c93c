export default () => ({
  date: new Date(0), nan: NaN, inf: Infinity, none: undefined, fn: () => 1, list: [undefined, () => 1], map: new Map([[1, 2]]),
  zero: -0, big: 2 ** 53, small: 1e-7, text: 'é "\u2028" \ud83d\ude00', nested: { toJSON: () => 'own' },
});
