export default () => "ä";
