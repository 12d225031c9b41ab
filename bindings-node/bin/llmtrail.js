#!/usr/bin/env node
process.exitCode = require('../dist/native.js').native().runCli(process.argv.slice(2))
