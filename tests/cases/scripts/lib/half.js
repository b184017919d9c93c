import { two } from './two.mjs';
export const half = (amount) => amount / two;
