/** A place and the loop in it, looked at together. */
import { type Diagnosis, type Environment, judgeLoop, LoopSurvey, realEnvironment } from '@loopstate/core';
import { diagnosePlace } from './backend-url.js';

/**
 * Says what is to be said of the state that `target` (a URL or a path) names: of the place, as its backend sees it, and of the loop whose
 * records are there. It changes nothing, and can be called beside a running loop; what `doctor` shows is this. `environment` is for tests.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`, `LOOPSTATE_BACKEND_MISSING`; whatever else is wrong is a finding.
 */
export async function diagnose(
  target: string,
  { environment = realEnvironment }: { readonly environment?: Environment } = {},
): Promise<Diagnosis> {
  const survey = new LoopSurvey();
  let records = 0;
  const diagnosis = await diagnosePlace(target, {
    onRecord(record) {
      records += 1;
      survey.take(record);
    },
  });
  if (records === 0) return diagnosis;
  const findings = judgeLoop(survey.facts, { ...diagnosis, environment });
  return { ...diagnosis, findings: [...diagnosis.findings, ...findings] };
}
