import { half } from './lib/half.js';
import data from './lib/rates.json' with { type: 'json' };
import * as again from './lib/half.js';
export default async () => ({
  half: half(9), rates: data.rates, same: again.half === half, later: (await import('./lib/two.mjs')).two,
  meta: typeof import.meta,
});
