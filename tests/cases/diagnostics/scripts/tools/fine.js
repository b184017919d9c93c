import { half } from './lib/half.mjs';
import { kv } from 'compozy';
// import './not-there.js'
export default ({ amount }) => ({ half: half(amount), note: `import './nor-this.js' ${kv}` });
