export default () => {
  const a = 1;
  return a +;
};
