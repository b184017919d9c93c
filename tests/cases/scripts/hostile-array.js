// call: {"limits": {"timeout": {"secs": 0, "nanos": 500000000}}}
export default () => new Array(2 ** 32 - 1).fill(0).length;
