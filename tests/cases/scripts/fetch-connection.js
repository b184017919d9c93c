// call: {"permissions": {"http": ["http://127.0.0.1:9"]}}
export default async () => (await fetch('http://127.0.0.1:9/')).status;
