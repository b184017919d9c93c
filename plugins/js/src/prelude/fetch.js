(host) => {
  const { parse } = JSON;
  const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
  const MOST_REDIRECTS = 20;

  const headerName = (name) => {
    const text = String(name);
    if (!TOKEN.test(text)) throw new TypeError(`'${text}' is no name of a header`);
    return text.toLowerCase();
  };
  const headerValue = (value) => {
    const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '');
    if (/[\0\n\r]/.test(text)) throw new TypeError('the value of a header holds a line break');
    return text;
  };

  class Headers {
    #pairs = [];
    constructor(init) {
      if (init === undefined || init === null) return;
      const pairs = typeof init[Symbol.iterator] === 'function' ? init : Object.entries(init);
      for (const [name, value] of pairs) this.append(name, value);
    }
    append(name, value) { this.#pairs.push([headerName(name), headerValue(value)]); }
    delete(name) {
      const wanted = headerName(name);
      this.#pairs = this.#pairs.filter(([known]) => known !== wanted);
    }
    get(name) {
      const wanted = headerName(name);
      const found = this.#pairs.filter(([known]) => known === wanted).map(([, value]) => value);
      return found.length === 0 ? null : found.join(', ');
    }
    getSetCookie() { return this.#pairs.filter(([name]) => name === 'set-cookie').map(([, value]) => value); }
    has(name) {
      const wanted = headerName(name);
      return this.#pairs.some(([known]) => known === wanted);
    }
    set(name, value) {
      this.delete(name);
      this.append(name, value);
    }
    forEach(callback, self) {
      for (const [name, value] of this) callback.call(self, value, name, this);
    }
    *entries() {
      const names = [...new Set(this.#pairs.map(([name]) => name))].sort();
      for (const name of names) yield [name, this.get(name)];
    }
    *keys() { for (const [name] of this.entries()) yield name; }
    *values() { for (const [, value] of this.entries()) yield value; }
    [Symbol.iterator]() { return this.entries(); }
  }

  const bytesOf = (body) => {
    if (body instanceof Uint8Array) return [body, undefined];
    if (body instanceof ArrayBuffer) return [new Uint8Array(body), undefined];
    if (ArrayBuffer.isView(body)) return [new Uint8Array(body.buffer, body.byteOffset, body.byteLength), undefined];
    if (body instanceof URLSearchParams) {
      return [host.encode(String(body)), 'application/x-www-form-urlencoded;charset=UTF-8'];
    }
    return [host.encode(String(body)), 'text/plain;charset=UTF-8'];
  };

  class Response {
    #body;
    #used = false;
    constructor(body, { status = 200, statusText = '', headers } = {}) {
      if (!Number.isInteger(status) || status < 200 || status > 599) throw new RangeError('a status is 200 to 599');
      this.status = status;
      this.statusText = String(statusText);
      this.headers = new Headers(headers);
      this.redirected = false;
      this.url = '';
      const [bytes, type] = body === undefined || body === null ? [new Uint8Array(0)] : bytesOf(body);
      if (type && !this.headers.has('content-type')) this.headers.set('content-type', type);
      this.#body = () => bytes;
    }
    static json(value, init = {}) {
      const response = new Response(JSON.stringify(value), init);
      response.headers.set('content-type', 'application/json');
      return response;
    }
    static answered({ status, headers, body }, url, redirected) {
      const response = new Response(undefined, { status: status < 200 ? 200 : status, headers });
      response.status = status;
      response.url = url;
      response.redirected = redirected;
      response.#body = () => host.readBody(body);
      return response;
    }
    get ok() { return this.status >= 200 && this.status < 300; }
    get bodyUsed() { return this.#used; }
    async bytes() {
      if (this.#used) throw new TypeError('the body was read already');
      this.#used = true;
      return this.#body();
    }
    async arrayBuffer() {
      const bytes = await this.bytes();
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    }
    async text() {
      const text = host.decode(await this.bytes(), false);
      return text.startsWith('\uFEFF') ? text.slice(1) : text;
    }
    async json() { return parse(await this.text()); }
  }
  const { answered } = Response;
  delete Response.answered;

  const METHODS = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'];
  const methodOf = (method) => {
    const text = String(method);
    if (!TOKEN.test(text)) throw new TypeError(`'${text}' is no method`);
    const upper = text.toUpperCase();
    if (['CONNECT', 'TRACE', 'TRACK'].includes(upper)) throw new TypeError(`the method ${upper} is not allowed`);
    return METHODS.includes(upper) ? upper : text;
  };

  const fetch = async (resource, init = {}) => {
    if (init.signal) throw new TypeError('fetch takes no signal; the timeout of the tool ends its requests');
    const follow = init.redirect ?? 'follow';
    if (!['follow', 'manual', 'error'].includes(follow)) throw new TypeError(`'${follow}' is no redirect mode`);
    let url = new URL(String(resource));
    let method = methodOf(init.method ?? 'GET');
    const headers = new Headers(init.headers);
    let body;
    if (init.body !== undefined && init.body !== null) {
      if (method === 'GET' || method === 'HEAD') throw new TypeError(`a ${method} request has no body`);
      const [bytes, type] = bytesOf(init.body);
      if (type && !headers.has('content-type')) headers.set('content-type', type);
      body = bytes;
    }
    for (const name of ['host', 'content-length', 'connection', 'transfer-encoding']) headers.delete(name);
    for (let redirects = 0; ; redirects++) {
      if (url.username || url.password) throw new TypeError('the URL holds a user name; use a header instead');
      url.hash = '';
      const answer = await host.request(method, url.href, [...headers], body);
      const location = [301, 302, 303, 307, 308].includes(answer.status)
        ? answer.headers.find(([name]) => name.toLowerCase() === 'location')?.[1] : undefined;
      if (location === undefined || follow === 'manual') return answered(answer, url.href, redirects > 0);
      host.dropBody(answer.body);
      if (follow === 'error') throw new TypeError(`${url.href} redirects to ${location}`);
      if (redirects === MOST_REDIRECTS) throw new TypeError(`more than ${MOST_REDIRECTS} redirects`);
      const next = new URL(location, url);
      const turnsToGet = (answer.status === 303 && method !== 'HEAD')
        || ([301, 302].includes(answer.status) && method === 'POST');
      if (turnsToGet) {
        method = 'GET';
        body = undefined;
        for (const name of ['content-type', 'content-encoding', 'content-language', 'content-location']) {
          headers.delete(name);
        }
      }
      if (next.origin !== url.origin) {
        for (const name of ['authorization', 'cookie', 'proxy-authorization']) headers.delete(name);
      }
      url = next;
    }
  };

  return { fetch, Headers, Response };
}
