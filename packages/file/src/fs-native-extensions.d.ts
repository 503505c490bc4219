/** The one call used of a package that ships no types. */
declare module 'fs-native-extensions' {
  /** Takes an exclusive kernel lock on the whole file; false if another descriptor holds one. */
  export function tryLock(descriptor: number): boolean;
}
