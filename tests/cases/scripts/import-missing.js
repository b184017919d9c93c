const name = './lib/none.js';
export default async () => (await import(name)).x;
