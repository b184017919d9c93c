// call: {"permissions": {"env": ["REGION", "UNSET"], "secrets": ["TOKEN"], "kv": "read_write"}}
import { secrets, env, kv } from 'compozy';
export default () => {
  kv.set('b', { n: [1, null] });
  kv.set('a', 'text', { ttlMs: 60000 });
  return {
    secret: secrets.get('TOKEN').startsWith('placeholder-'), env: env('REGION'), unset: String(env('UNSET')),
    got: kv.get('b'), keys: kv.keys(), swapped: kv.compareAndSet('a', 'text', 2), not: kv.compareAndSet('a', 'text', 3),
    made: kv.compareAndSet('c', undefined, 1), gone: kv.delete('c'), again: kv.delete('c'), missing: String(kv.get('c')), after: kv.keys('', { after: 'a' }),
  };
};
