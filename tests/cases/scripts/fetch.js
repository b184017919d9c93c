// call: {"permissions": {"http": ["ORIGIN"], "secrets": ["TOKEN"]}}
import { secrets } from 'compozy';
const reversed = (text) => [...text].reverse().join('');
export default async () => {
  const answer = await fetch('ORIGIN/', {
    method: 'post', headers: { 'X-Test': ' yes ', authorization: `Bearer ${secrets.get('TOKEN')}` }, body: JSON.stringify({ a: 'é' }),
  });
  const echo = JSON.parse(reversed(await answer.text()));
  let twice;
  try { await answer.text(); } catch (error) { twice = error.message; }
  return {
    ok: answer.ok, status: answer.status, url: answer.url, type: answer.headers.get('Content-Type'), test: echo.headers['x-test'],
    length: echo.headers['content-length'], sent: echo.headers['content-type'], body: echo.body, twice, used: answer.bodyUsed,
    hidden: !echo.headers.authorization.includes('placeholder'),
  };
};
