export default () => {
  throw Object.assign(new Error('try again'), { retryable: true });
};
