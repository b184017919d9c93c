export default () => new Promise((resolve) => {
  const seen = [];
  let ticks = 0;
  setTimeout(() => seen.push('300'), 300);
  setTimeout((a, b) => seen.push(`0 ${a}${b}`), 0, 'x', 'y');
  const canceled = setTimeout(() => seen.push('never'), 5);
  clearTimeout(canceled);
  queueMicrotask(() => seen.push('microtask'));
  Promise.resolve().then(() => seen.push('then'));
  setTimeout(() => Promise.resolve().then(() => seen.push('between')), 1);
  setTimeout(() => seen.push('after'), 1);
  const interval = setInterval(() => {
    ticks += 1;
    if (ticks === 3) {
      clearInterval(interval);
      setTimeout(() => resolve({ seen, ticks }), 400);
    }
  }, 2);
  seen.push('first');
});
