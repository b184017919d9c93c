const told = async (...given) => {
  try {
    await fetch(...given);
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};
export default async () => [
  await told('nope'), await told('https://u:p@a.example/'), await told('https://a.example/', { body: 'x' }),
  await told('https://a.example/', { method: 'TRACE' }), await told('https://a.example/', { headers: { 'a b': 'c' } }),
  await told('https://a.example/', { headers: { a: 'c\r\nd: e' } }), await told('https://a.example/', { signal: {} }), await told('file:///etc/passwd'),
];
