// `npm run surface`: keeps the public surface as it is now. To be run where a change of it is meant, and told in the changelog.
import { writeFileSync } from 'node:fs';
import { aspectNames, currentSurface, fileOf } from './aspects.js';

const surface = await currentSurface();
for (const name of aspectNames) writeFileSync(fileOf(name), surface[name]);
