import './types.ts';
export default () => 1;
