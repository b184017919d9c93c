export default () => {
  let nested = [];
  for (let i = 0; i < 100000; i++) nested = [nested];
  return nested;
};
