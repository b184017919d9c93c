export default async () => {
  await fetch('https://api.example.com/v1?x=1');
};
