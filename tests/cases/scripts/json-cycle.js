export default () => {
  const a = {};
  a.self = a;
  return a;
};
