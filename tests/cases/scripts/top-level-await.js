const later = await new Promise((resolve) => setTimeout(() => resolve('there'), 5));
export default () => later;
