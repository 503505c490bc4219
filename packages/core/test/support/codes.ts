import { AssertionError } from 'chai';

/** The code of the error that a promise rejects with; a promise that resolves fails the test. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  throw new AssertionError('The call was expected to reject, and resolved.');
}
