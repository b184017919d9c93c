// call: {"permissions": {"http": ["ORIGIN"]}}
const reversed = (text) => [...text].reverse().join('');
export default async () => {
  const answer = await fetch(new URL('ORIGIN/'), { method: 'PUT', body: new URLSearchParams({ q: 'a b' }) });
  const echo = JSON.parse(reversed(await answer.text()));
  return [echo.body, echo.headers['content-type'], (await (await fetch('ORIGIN/')).arrayBuffer()).byteLength > 10];
};
