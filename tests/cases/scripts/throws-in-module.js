import { half } from './lib/half.js';
half(1).name.more();
export default () => 1;
