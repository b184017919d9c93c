// call: {"permissions": {"sql": [{"id": "shop", "write": true}]}}
import { sql } from 'compozy';
const told = async (work) => {
  try {
    return await work();
  } catch (error) {
    return `${error.code ?? error.name}: ${error.message} ${error.sqlstate ?? ''}`;
  }
};
export default async () => {
  const shop = sql.open('shop');
  const rows = shop.query('one', [null, true, 1, 1.5, 'text', 9007199254740993n, new Uint8Array([1, 2]), new Uint8Array([7, 8, 9]).subarray(1)]);
  return [
    rows, shop.execute('many'), await told(() => shop.query('bad')), await told(() => shop.query('odd', [{}])),
    shop.transaction((tx) => tx.execute('first') + tx.execute('second')),
    await shop.transaction(async (tx) => { await null; return tx.query('third').length; }),
    await told(() => shop.transaction((tx) => { tx.execute('undone'); throw new Error('no'); })),
    await told(() => shop.transaction(async (tx) => { await null; throw new Error('later'); })),
    await told(() => { let kept; shop.transaction((tx) => { kept = tx; }); return kept.query('late'); }),
    await told(() => sql.open('other')),
  ];
};
