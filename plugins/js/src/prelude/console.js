(host) => {
  const { stringify } = JSON;
  const show = (value) => {
    if (typeof value === 'string') return value;
    if (value instanceof Error) {
      const stack = typeof value.stack === 'string' ? '\n' + value.stack.trimEnd() : '';
      return `${value.name}: ${value.message}${stack}`;
    }
    if (typeof value === 'bigint') return `${value}n`;
    if (typeof value !== 'object' || value === null) return String(value);
    try {
      return stringify(value, (_, member) => {
        if (typeof member === 'bigint') return `${member}n`;
        if (member instanceof Map) return [...member];
        if (member instanceof Set) return [...member];
        return member;
      });
    } catch {
      return Object.prototype.toString.call(value);
    }
  };
  const writer = (level) => (...values) => host.log(level, values.map(show).join(' '));
  const console = {
    log: writer('info'),
    info: writer('info'),
    debug: writer('debug'),
    trace: writer('debug'),
    warn: writer('warn'),
    error: writer('error'),
    assert(condition, ...values) {
      if (!condition) host.log('error', ['Assertion failed', ...values.map(show)].join(' '));
    },
  };
  return { console };
}
