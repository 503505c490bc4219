/** Bundles the packages into their `dist`, in which their declarations are already. Run by `pnpm build`. */
import { join } from 'node:path';
import { bundlePackage } from './support/bundle.js';
import { packageFolders, WORKSPACE } from './support/compiled.js';

for (const folder of packageFolders()) await bundlePackage(join(WORKSPACE, folder), join(WORKSPACE, folder, 'dist'));
