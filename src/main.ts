#!/usr/bin/env node
// argv → command → exit code.
import { runCommandLine } from './cli/commands.js';
import { processTerminal } from './cli/screen/terminal.js';

process.exitCode = await runCommandLine(process.argv.slice(2), processTerminal());
// Nothing that was left open may hold the process; without such a leak it ends earlier.
setTimeout(() => process.exit(), 500).unref();
