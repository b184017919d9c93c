// call: {"limits": {"output_bytes": 100000}}
export default () => 'x'.repeat(200000);
