(host) => {
  const started = host.elapsed();
  const set = (repeats) => (callback, delay = 0, ...given) => {
    if (typeof callback !== 'function') throw new TypeError('a timer needs a function');
    return host.setTimer(callback, delay, given, repeats);
  };
  return {
    setTimeout: set(false),
    setInterval: set(true),
    clearTimeout: (id) => host.clearTimer(id),
    clearInterval: (id) => host.clearTimer(id),
    queueMicrotask(callback) {
      if (typeof callback !== 'function') throw new TypeError('queueMicrotask needs a function');
      Promise.resolve().then(callback);
    },
    performance: { now: () => host.elapsed() - started, timeOrigin: Date.now() },
  };
}
