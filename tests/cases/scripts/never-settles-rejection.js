export default () => new Promise(async () => {
  throw new Error('lost on the way');
});
