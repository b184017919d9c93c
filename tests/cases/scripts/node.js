const fs = require('fs');
export default () => fs;
