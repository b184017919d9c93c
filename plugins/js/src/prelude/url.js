(host) => {
  // https://url.spec.whatwg.org, for the ASCII part of it: names in other scripts are written as xn--… by the caller.
  const PORTS = { 'http:': '80', 'https:': '443', 'ws:': '80', 'wss:': '443', 'ftp:': '21', 'file:': '' };
  const isSpecial = (scheme) => Object.hasOwn(PORTS, scheme);

  const C0 = /[^\x20-\x7E]/;
  const FRAGMENT = /[^\x21\x23-\x3B\x3D\x3F-\x5F\x61-\x7E]/;
  const QUERY = /[^\x21\x24-\x3B\x3D\x3F-\x7E]/;
  const SPECIAL_QUERY = /[^\x21\x24-\x26\x28-\x3B\x3D\x3F-\x7E]/;
  const PATH = /[^\x21\x24-\x3B\x3D\x40-\x5D\x5F\x61-\x7A\x7C\x7E]/;
  const USERINFO = /[^\x21\x24-\x2E\x30-\x39\x41-\x5A\x5F\x61-\x7A\x7E%]/;
  const FORM = /[^*\-.0-9A-Z_a-z]/;

  const encode = (text, set) => {
    if (!set.test(text)) return text;
    let encoded = '';
    for (const character of text) {
      if (!set.test(character)) {
        encoded += character;
        continue;
      }
      for (const byte of host.encode(character)) encoded += '%' + byte.toString(16).toUpperCase().padStart(2, '0');
    }
    return encoded;
  };

  const decode = (text) => {
    if (!text.includes('%')) return text;
    const source = host.encode(text);
    const bytes = [];
    for (let at = 0; at < source.length; at++) {
      const digits = source[at] === 37 ? String.fromCharCode(source[at + 1], source[at + 2]) : '';
      if (/^[0-9A-Fa-f]{2}$/.test(digits)) {
        bytes.push(parseInt(digits, 16));
        at += 2;
      } else {
        bytes.push(source[at]);
      }
    }
    return host.decode(new Uint8Array(bytes), false);
  };

  const invalid = (text) => new TypeError(`'${text}' is no valid URL`);

  const ipv6 = (text) => {
    let rest = text;
    const dotted = /:(\d+\.\d+\.\d+\.\d+)$/.exec(rest);
    if (dotted) {
      const parts = dotted[1].split('.').map((part) => (/^(0|[1-9]\d{0,2})$/.test(part) ? Number(part) : 256));
      if (parts.some((part) => part > 255)) return undefined;
      const group = (one, two) => ((one << 8) | two).toString(16);
      rest = rest.slice(0, dotted.index + 1) + group(parts[0], parts[1]) + ':' + group(parts[2], parts[3]);
    }
    const halves = rest.split('::');
    if (halves.length > 2) return undefined;
    const groups = halves.map((half) => (half === '' ? [] : half.split(':')));
    const missing = 8 - groups.flat().length;
    if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
    if (groups.flat().some((group) => !/^[0-9A-Fa-f]{1,4}$/.test(group))) return undefined;
    const filled = halves.length === 1 ? groups[0] : [...groups[0], ...Array(missing).fill('0'), ...groups[1]];
    const numbers = filled.map((group) => parseInt(group, 16));
    let best = { start: -1, length: 1 };
    for (let start = 0; start < 8; start++) {
      let length = 0;
      while (start + length < 8 && numbers[start + length] === 0) length++;
      if (length > best.length) best = { start, length };
    }
    const hex = numbers.map((number) => number.toString(16));
    if (best.start < 0) return `[${hex.join(':')}]`;
    return `[${hex.slice(0, best.start).join(':')}::${hex.slice(best.start + best.length).join(':')}]`;
  };

  // A name whose last part is a number is an IPv4 address, or nothing.
  const ipv4 = (name) => {
    const parts = name.split('.');
    if (parts.length > 1 && parts.at(-1) === '') parts.pop();
    const number = (part) => {
      if (/^0[xX][0-9A-Fa-f]*$/.test(part)) return parseInt(part.slice(2) || '0', 16);
      if (/^0[0-7]*$/.test(part)) return parseInt(part, 8);
      return /^[1-9]\d*$/.test(part) ? parseInt(part, 10) : NaN;
    };
    const last = parts.at(-1);
    if (!/^\d+$/.test(last) && !/^0[xX][0-9A-Fa-f]*$/.test(last)) return name;
    const numbers = parts.map(number);
    const end = numbers.pop();
    const room = 256 ** (4 - numbers.length);
    if (numbers.length > 3 || Number.isNaN(end) || end >= room || numbers.some((one) => !(one <= 255))) return undefined;
    const whole = numbers.reduce((sum, one, index) => sum + one * 256 ** (3 - index), end);
    return [24, 16, 8, 0].map((shift) => Math.floor(whole / 2 ** shift) % 256).join('.');
  };

  const hostOf = (text, scheme) => {
    if (text.startsWith('[')) return text.endsWith(']') ? ipv6(text.slice(1, -1)) : undefined;
    if (!isSpecial(scheme)) return /[\0\t\n\r #/:<>?@[\\\]^|]/.test(text) ? undefined : encode(text, C0);
    const name = decode(text).toLowerCase();
    if (name === '' || /[\0-\x20"#%/:<>?@[\\\]^`{|}\x7F]/.test(name)) return undefined;
    if (/[^\x21-\x7E]/.test(name)) {
      throw new TypeError(`the host '${name}' is not ASCII; write it in its xn--… form`);
    }
    return ipv4(name);
  };

  const portOf = (text, scheme) => {
    if (text === '') return '';
    if (!/^\d+$/.test(text) || Number(text) > 65535) return undefined;
    const port = String(Number(text));
    return port === PORTS[scheme] ? '' : port;
  };

  const pathOf = (text, scheme, start = []) => {
    const path = [...start];
    const segments = text.split(isSpecial(scheme) ? /[/\\]/ : '/');
    segments.forEach((segment, index) => {
      const isLast = index === segments.length - 1;
      const plain = segment.replace(/%2e/gi, '.');
      if (plain === '..') {
        path.pop();
        if (isLast) path.push('');
      } else if (plain === '.') {
        if (isLast) path.push('');
      } else {
        path.push(encode(segment, PATH));
      }
    });
    return path;
  };

  const authority = (url, text) => {
    const at = text.lastIndexOf('@');
    if (at >= 0) {
      const [name, ...secret] = text.slice(0, at).split(':');
      url.username = encode(name, USERINFO);
      url.password = encode(secret.join(':'), USERINFO);
    }
    const rest = text.slice(at + 1);
    const found = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(rest);
    if (!found) return false;
    url.host = found[1] === '' && !isSpecial(url.scheme) ? '' : hostOf(found[1], url.scheme);
    url.port = portOf(found[2] ?? '', url.scheme);
    if (at >= 0 && found[1] === '') return false;
    return url.host !== undefined && url.port !== undefined;
  };

  const split = (text) => {
    const hash = text.indexOf('#');
    const before = hash < 0 ? text : text.slice(0, hash);
    const mark = before.indexOf('?');
    return {
      before: mark < 0 ? before : before.slice(0, mark),
      query: mark < 0 ? null : before.slice(mark + 1),
      fragment: hash < 0 ? null : text.slice(hash + 1),
    };
  };
  const queryOf = (text, scheme) => (text === null ? null : encode(text, isSpecial(scheme) ? SPECIAL_QUERY : QUERY));
  const fragmentOf = (text) => (text === null ? null : encode(text, FRAGMENT));

  const read = (input, base) => {
    const text = input.replace(/^[\0-\x20]+|[\0-\x20]+$/g, '').replace(/[\t\n\r]/g, '');
    const found = /^([A-Za-z][A-Za-z0-9+\-.]*):/.exec(text);
    const scheme = found ? found[1].toLowerCase() + ':' : base?.scheme;
    if (scheme === undefined) throw invalid(input);
    const own = split(found ? text.slice(found[0].length) : text);
    const url = { scheme, username: '', password: '', host: null, port: '', path: [], opaque: null };
    url.query = queryOf(own.query, scheme);
    url.fragment = fragmentOf(own.fragment);
    const special = isSpecial(scheme);
    const rest = special ? own.before.replaceAll('\\', '/') : own.before;
    const isRelative = !found || (special && base?.scheme === scheme && !/^\/\//.test(rest) && scheme !== 'file:');
    if (scheme === 'file:') throw new TypeError('file: URLs are not supported');
    if (isRelative) {
      if (!base || (base.opaque !== null && rest !== '')) throw invalid(input);
      if (rest.startsWith('//')) {
        if (!authorityAndPath(url, rest.slice(2))) throw invalid(input);
        return url;
      }
      Object.assign(url, { username: base.username, password: base.password, host: base.host, port: base.port });
      url.opaque = base.opaque;
      if (rest === '') {
        url.path = [...base.path];
        if (own.query === null) url.query = base.query;
      } else if (rest.startsWith('/')) {
        url.path = pathOf(rest.slice(1), scheme);
      } else {
        url.path = pathOf(rest, scheme, base.path.slice(0, -1));
      }
      return url;
    }
    if (special) {
      if (!authorityAndPath(url, rest.replace(/^\/*/, ''))) throw invalid(input);
    } else if (rest.startsWith('//')) {
      if (!authorityAndPath(url, rest.slice(2))) throw invalid(input);
    } else if (rest.startsWith('/')) {
      url.path = pathOf(rest.slice(1), scheme);
    } else {
      url.opaque = encode(rest, C0);
    }
    return url;
  };

  const authorityAndPath = (url, text) => {
    const end = text.indexOf('/');
    if (!authority(url, end < 0 ? text : text.slice(0, end))) return false;
    if (end >= 0 || isSpecial(url.scheme)) url.path = pathOf(end < 0 ? '' : text.slice(end + 1), url.scheme);
    return true;
  };

  const pathname = (url) => (url.opaque !== null ? url.opaque : url.path.map((segment) => '/' + segment).join(''));
  const write = (url) => {
    let text = url.scheme;
    if (url.host !== null) {
      text += '//';
      if (url.username || url.password) text += url.username + (url.password && ':' + url.password) + '@';
      text += url.host + (url.port && ':' + url.port);
    } else if (url.opaque === null && url.path.length > 1 && url.path[0] === '') {
      text += '/.';
    }
    text += pathname(url);
    if (url.query !== null) text += '?' + url.query;
    if (url.fragment !== null) text += '#' + url.fragment;
    return text;
  };

  const formEncode = (text) => encode(text.replaceAll(' ', '\0'), FORM).replaceAll('%00', '+');
  const formPairs = (text) =>
    text.split('&').filter((part) => part !== '').map((part) => {
      const [name, ...value] = part.replaceAll('+', ' ').split('=');
      return [decode(name), decode(value.join('='))];
    });
  // A space is marked by NUL on the way; a NUL of the text itself is kept apart.
  const formText = (text) => text.split('\0').map(formEncode).join('%00');

  class URLSearchParams {
    #pairs = [];
    #changed = () => {};
    constructor(init = '') {
      if (typeof init === 'object' && init !== null) {
        const pairs = typeof init[Symbol.iterator] === 'function' ? [...init] : Object.entries(init);
        for (const pair of pairs) {
          const members = [...pair];
          if (members.length !== 2) throw new TypeError('each pair has a name and a value');
          this.#pairs.push([String(members[0]), String(members[1])]);
        }
      } else {
        this.#pairs = formPairs(String(init).replace(/^\?/, ''));
      }
    }
    static bound(query, changed) {
      const parameters = new URLSearchParams(query ?? '');
      parameters.#changed = changed;
      return parameters;
    }
    static renew(parameters, query) { parameters.#pairs = formPairs(query ?? ''); }
    get size() { return this.#pairs.length; }
    append(name, value) {
      this.#pairs.push([String(name), String(value)]);
      this.#changed(this);
    }
    delete(name, value) {
      this.#pairs = this.#pairs.filter(([known, kept]) => known !== String(name)
        || (value !== undefined && kept !== String(value)));
      this.#changed(this);
    }
    get(name) { return this.#pairs.find(([known]) => known === String(name))?.[1] ?? null; }
    getAll(name) { return this.#pairs.filter(([known]) => known === String(name)).map(([, value]) => value); }
    has(name, value) {
      return this.#pairs.some(([known, kept]) => known === String(name) && (value === undefined || kept === String(value)));
    }
    set(name, value) {
      const first = this.#pairs.findIndex(([known]) => known === String(name));
      if (first < 0) {
        this.#pairs.push([String(name), String(value)]);
      } else {
        this.#pairs[first] = [String(name), String(value)];
        this.#pairs = this.#pairs.filter(([known], index) => index <= first || known !== String(name));
      }
      this.#changed(this);
    }
    sort() {
      this.#pairs.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
      this.#changed(this);
    }
    forEach(callback, self) {
      for (const [name, value] of this) callback.call(self, value, name, this);
    }
    *entries() { for (const [name, value] of this.#pairs) yield [name, value]; }
    *keys() { for (const [name] of this.#pairs) yield name; }
    *values() { for (const [, value] of this.#pairs) yield value; }
    [Symbol.iterator]() { return this.entries(); }
    toString() { return this.#pairs.map((pair) => pair.map(formText).join('=')).join('&'); }
  }
  const { bound, renew } = URLSearchParams;
  delete URLSearchParams.bound;
  delete URLSearchParams.renew;

  class URL {
    #url;
    #parameters;
    constructor(input, base) {
      const over = base === undefined ? undefined : read(String(base));
      this.#url = read(String(input), over);
      this.#parameters = bound(this.#url.query, (parameters) => {
        this.#url.query = String(parameters) || null;
      });
    }
    static canParse(input, base) {
      try {
        return Boolean(new URL(input, base));
      } catch {
        return false;
      }
    }
    static parse(input, base) { return URL.canParse(input, base) ? new URL(input, base) : null; }
    get href() { return write(this.#url); }
    set href(text) {
      this.#url = read(String(text));
      renew(this.#parameters, this.#url.query);
    }
    get origin() { return isSpecial(this.#url.scheme) ? `${this.#url.scheme}//${this.host}` : 'null'; }
    get protocol() { return this.#url.scheme; }
    set protocol(text) {
      const found = /^([A-Za-z][A-Za-z0-9+\-.]*)(:|$)/.exec(String(text));
      const scheme = found && found[1].toLowerCase() + ':';
      if (!scheme || isSpecial(scheme) !== isSpecial(this.#url.scheme) || scheme === 'file:') return;
      this.#url.scheme = scheme;
      if (this.#url.port === PORTS[scheme]) this.#url.port = '';
    }
    get username() { return this.#url.username; }
    set username(text) { if (this.#url.host) this.#url.username = encode(String(text), USERINFO); }
    get password() { return this.#url.password; }
    set password(text) { if (this.#url.host) this.#url.password = encode(String(text), USERINFO); }
    get host() { return (this.#url.host ?? '') + (this.#url.port && ':' + this.#url.port); }
    set host(text) {
      const found = /^(\[[^\]]*\]|[^:/?#\\]*)(?::(\d*))?/.exec(String(text));
      this.hostname = found[1];
      if (found[2] !== undefined) this.port = found[2];
    }
    get hostname() { return this.#url.host ?? ''; }
    set hostname(text) {
      if (this.#url.opaque !== null) return;
      const host = hostOf(String(text), this.#url.scheme);
      if (host !== undefined) this.#url.host = host;
    }
    get port() { return this.#url.port; }
    set port(text) {
      const digits = /^\d*/.exec(String(text))[0];
      const port = digits === '' && String(text) !== '' ? undefined : portOf(digits, this.#url.scheme);
      if (this.#url.host && port !== undefined) this.#url.port = port;
    }
    get pathname() { return pathname(this.#url); }
    set pathname(text) {
      if (this.#url.opaque !== null) return;
      const marked = String(text).replaceAll('?', '%3F').replaceAll('#', '%23');
      this.#url.path = pathOf(marked.replace(isSpecial(this.#url.scheme) ? /^[/\\]/ : /^\//, ''), this.#url.scheme);
    }
    get search() { return this.#url.query ? '?' + this.#url.query : ''; }
    set search(text) {
      const query = String(text).replace(/^\?/, '');
      this.#url.query = query === '' ? null : queryOf(query.replaceAll('#', '%23'), this.#url.scheme);
      renew(this.#parameters, this.#url.query);
    }
    get searchParams() { return this.#parameters; }
    get hash() { return this.#url.fragment ? '#' + this.#url.fragment : ''; }
    set hash(text) {
      const fragment = String(text).replace(/^#/, '');
      this.#url.fragment = fragment === '' ? null : fragmentOf(fragment);
    }
    toString() { return this.href; }
    toJSON() { return this.href; }
  }

  return { URL, URLSearchParams };
}
