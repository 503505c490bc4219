/** Opens a place, uses every method once, closes, and has nothing more to do: whether the process then ends is the question. */
import { say, theOpener, theUrl } from './program.js';

const store = await theOpener.openPlace(theUrl);
const result = await store.commit({ puts: [{ key: 'from-child', value: { sent: ['by a child'] } }] });
if (!result.ok) throw new Error('A commit without checks was refused.');
await store.read(['from-child']);
for await (const { revision } of store.changes(0))
  if (revision > result.revision) throw new Error('A change is newer than the newest commit.');
// What is in flight at the close must not keep the process alive either.
const late = store.commit({ puts: [{ key: 'late', value: 1 }], deletes: ['late-too'] });
await store.close();
await late;
say(`revision ${result.revision}`);
say('closed');
