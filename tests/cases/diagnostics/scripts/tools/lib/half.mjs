export const half = (amount) => amount / 2;
