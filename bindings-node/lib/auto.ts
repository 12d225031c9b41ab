/** `node --import llmtrail/auto`: records the calls of a program that knows nothing of it. */
import { instrument } from './index.js'

instrument()
