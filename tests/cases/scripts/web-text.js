export default () => ({
  bytes: [...new TextEncoder().encode('é€')], text: new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0xff])),
  base64: [btoa('hi!'), atob('aGkh')], into: new TextEncoder().encodeInto('aé€', new Uint8Array(3)),
  fatal: (() => { try { new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([255])); } catch (e) { return e.name; } })(),
});
