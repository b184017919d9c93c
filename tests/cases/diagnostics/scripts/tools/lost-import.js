export default () => 1;
import { lost } from './lost.js';
