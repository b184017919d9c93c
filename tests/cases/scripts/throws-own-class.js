class ShopError extends Error {
  constructor(message) {
    super(message);
    this.name = 'ShopError';
  }
}
export default () => {
  throw new ShopError('closed');
};
