// call: {"limits": {"timeout": {"secs": 0, "nanos": 300000000}}}
export default () => new Promise((resolve) => setTimeout(resolve, 1e9));
