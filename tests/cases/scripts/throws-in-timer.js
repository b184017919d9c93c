export default () => new Promise(() => {
  setTimeout(() => {
    missing();
  }, 1);
});
