const deep = (text) => {
  throw new RangeError(`too much ${text}`);
};

export default (input) => {
  const label = 'cheese';
  return deep(label);
};
