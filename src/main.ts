#!/usr/bin/env node
// argv → command → exit code.
import { runCommandLine } from './cli/commands.js';
import { processTerminal } from './cli/screen/terminal.js';

process.exitCode = await runCommandLine(process.argv.slice(2), processTerminal());
// Whatever was left open must not hold the process; where nothing was, it ends before.
setTimeout(() => process.exit(), 500).unref();
