globalThis.compozy = undefined;
globalThis.fetch = () => 'mine';
Object.freeze(globalThis);
Promise.prototype.then = undefined;
export default async () => [typeof compozy, fetch(), typeof URL];
