// call: {"permissions": {"http": ["ORIGIN"]}}
export default async () => {
  const begun = performance.now();
  const answers = await Promise.all([1, 2, 3, 4].map(() => fetch('ORIGIN/slow').then((answer) => answer.text())));
  return { answers, together: performance.now() - begun < 950 };
};
