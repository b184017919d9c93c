const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export default async () => {
  const begun = performance.now();
  await wait(20);
  return { waited: performance.now() - begun >= 19, top: await Promise.resolve(7) };
};
