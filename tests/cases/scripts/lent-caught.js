import compozy, { secrets, env, kv, sql, run } from 'compozy';
const refused = (work) => {
  try {
    return work();
  } catch (error) {
    return `${error.code}: ${error.message}`;
  }
};
export default () => [
  refused(() => secrets.get('TOKEN')), refused(() => env('REGION')), refused(() => kv.set('a', 1)),
  refused(() => sql.open("shop")), run.attempt, run.stepPath, run.deadline > Date.now(), compozy.run.execId, globalThis.compozy === compozy,
];
