export default async (input) => {
  await null;
  const nothing = undefined;
  return nothing.name;
};
