import { kv } from 'compozy';
export default () => kv.get('a');
