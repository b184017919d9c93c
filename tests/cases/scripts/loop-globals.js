export default async () => {
  let text = '';
  for (let i = 0; i < 3; i++) {
    text += btoa(String(i)) + typeof URL + (await new Promise((resolve) => setTimeout(resolve, 0, i)));
  }
  globalThis.fetch = () => 'mine';
  return [text, fetch(), Object.keys(globalThis)];
};
