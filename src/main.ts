#!/usr/bin/env node
// argv → command → exit code.
import { runCommandLine } from './cli/commands.js';
import { processTerminal } from './cli/screen/terminal.js';

process.exitCode = await runCommandLine(process.argv.slice(2), processTerminal());
// A leaked handle must not keep the process alive; without one it ends sooner.
setTimeout(() => process.exit(), 500).unref();
