// call: {"permissions": {"http": ["ORIGIN"]}}
export default async () => {
  const answer = await fetch('ORIGIN/around', { method: 'POST', body: 'x' });
  const manual = await fetch('ORIGIN/moved', { redirect: 'manual' });
  let refused;
  try { await fetch('ORIGIN/moved', { redirect: 'error' }); } catch (error) { refused = error.message; }
  let endless;
  try { await fetch('ORIGIN/endless'); } catch (error) { endless = error.message; }
  return [answer.redirected, answer.url, answer.status, manual.status, manual.headers.get('location'), refused, endless];
};
