const SHAPE = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
export default () => ({
  uuid: SHAPE.test(crypto.randomUUID()), different: crypto.randomUUID() !== crypto.randomUUID(),
  filled: crypto.getRandomValues(new Uint8Array(64)).some((byte) => byte > 0), random: Math.random() !== Math.random(),
});
