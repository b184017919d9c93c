// call: {"limits": {"timeout": {"secs": 0, "nanos": 300000000}}}
export default () => /^(a+)+$/.test('a'.repeat(40) + 'b');
