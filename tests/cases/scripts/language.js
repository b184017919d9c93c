class Counter {
  #count = 0;
  static made = new WeakMap();
  get count() { return this.#count; }
  *[Symbol.iterator]() { yield* [1, 2, 3]; }
  async *later() { for (const item of this) { yield item; } }
  add(by = 1) { this.#count += by; return this; }
}
export default async () => {
  const { a, ...rest } = { a: 1, b: 2, c: 3 };
  const later = [];
  for await (const item of new Counter().later()) later.push(item);
  return {
    rest, later, count: new Counter().add().add(2).count, optional: rest.x?.y ?? 'none', at: [1, 2, 3].at(-1),
    grouped: Object.groupBy([1, 2, 3], (n) => (n % 2 ? 'odd' : 'even')), entries: Object.fromEntries(new Map([['k', 1]])),
    regex: 'ä-1,b-22'.replaceAll(/(?<name>\p{L})-(?<n>\d+)/gu, '$<n>:$<name>'), tagged: String.raw`a\n${1}`,
    sorted: [3, 1, 2].toSorted(), flat: [[1, [2]]].flat(Infinity), big: (2n ** 64n).toString(), labels: (() => {
      outer: for (let i = 0; ; i++) for (;;) if (i > 2) break outer; else continue outer;
      return true;
    })(), locale: (1234.5).toFixed(2), proxy: new Proxy({}, { get: (_, name) => name }).hello,
    eval: (0, eval)('1 + 1'), settled: (await Promise.allSettled([Promise.reject(1), 2])).map((one) => one.status),
    pad: 'x'.padStart(3, '-'), normal: '\u0041\u030a'.normalize('NFC').length, intl: typeof Intl,
  };
};
