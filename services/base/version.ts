/** The version of what runs, from the project's own package.json. */

import project from '../../package.json' with { type: 'json' };

export const VERSION: string = project.version;
