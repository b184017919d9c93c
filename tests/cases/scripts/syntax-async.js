export default async () => {
  return await +;
};
