/** The state as the user named it, fit to be shown: no password, no parameters. */
export function shownState(target: string): string {
  // Up to the last @ before the first slash of the path: a password may hold an @.
  return target.replace(/^([a-z][a-z0-9+.-]+:\/\/)[^/?#]*@/i, '$1').replace(/^([a-z][a-z0-9+.-]+:[^?#]*)[?#].*$/i, '$1');
}
