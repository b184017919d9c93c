const deeper = () => [1].map(deeper);
export default () => deeper();
