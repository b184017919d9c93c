// call: {"input": 5}
import one from './lib/one.js';
import { two as async } from './lib/two.mjs';
export

default async one2 => ({ got: await one(one2), async });
