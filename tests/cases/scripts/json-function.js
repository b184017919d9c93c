export default () => () => 1;
