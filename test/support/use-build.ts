// Runs in every file of the suite `faults`: daemons are started from the run's own build.
import { inject } from 'vitest';

process.env['TEST_ENTRY'] = inject('builtEntry');
