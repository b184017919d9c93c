export default async () => {
  throw { reason: 'no stock', sku: 7 };
};
