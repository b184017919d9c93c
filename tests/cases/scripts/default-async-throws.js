export default async (input) => {
  throw new Error('here');
};
