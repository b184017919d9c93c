export default () => JSON.parse('{"a": }');
