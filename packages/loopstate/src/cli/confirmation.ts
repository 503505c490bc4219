/** A question at a terminal, before something is done that can't be undone. */
import { createInterface } from 'node:readline/promises';

/** How it was answered; whoever ends the input (Ctrl-D) has not said yes. */
export type Confirmation = 'yes' | 'no' | 'interrupted';

/** Where it is asked. */
export interface ConfirmationStreams {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
}

/** Asks once; only `y` and `yes` are a yes. */
export async function askToConfirm(question: string, streams: ConfirmationStreams): Promise<Confirmation> {
  const prompt = createInterface(streams);
  const ended = new AbortController();
  let unanswered: Confirmation = 'no';
  prompt.once('SIGINT', () => {
    unanswered = 'interrupted';
    ended.abort();
  });
  // A question that is asked when the input ends is never answered.
  prompt.once('close', () => ended.abort());
  try {
    const answer = await prompt.question(question, { signal: ended.signal });
    return /^y(es)?$/i.test(answer.trim()) ? 'yes' : 'no';
  } catch (error) {
    if (!ended.signal.aborted) throw error;
    return unanswered;
  } finally {
    prompt.close();
  }
}
