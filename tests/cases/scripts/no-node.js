export default () => [
  typeof require, typeof process, typeof Buffer, typeof window, typeof module, typeof XMLHttpRequest,
  typeof fetch, typeof console.log, typeof structuredClone, typeof compozy,
];
