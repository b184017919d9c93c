export default () => JSON.parse('{"a": [1, 2]}', (key, value) => (typeof value === 'number' ? value * 2 : value));
