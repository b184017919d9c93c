const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const late = async () => {
  await wait(2);
  throw new TypeError('too late');
};
export default async () => {
  await late();
};
