export default () => {
  const url = new URL('../x y?q=1#f', 'https://API.example.com:443/a/b/c');
  url.searchParams.append('z', 'é &');
  return { href: url.href, origin: url.origin, params: [...new URLSearchParams('a=1&b=%20+')], no: URL.canParse('nope') };
};
