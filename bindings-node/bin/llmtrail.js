#!/usr/bin/env node
const args = process.argv.slice(2)
// Only that command asks what is installed here.
const host = args[0] === 'doctor' ? require('../dist/doctor.js').host() : undefined
process.exitCode = require('../dist/native.js').native().runCli(args, host)
