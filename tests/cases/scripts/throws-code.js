export default () => {
  const error = new Error('the shop is closed');
  throw Object.assign(error, { code: 'shop_closed', retryable: true, retryAfterMs: 1500 });
};
