export default () => ({ then(resolve) { resolve({ like: 'a promise' }); } });
