export default async function (value) {
  return `one ${value}`;
}
