import { Option } from 'commander';

/** `--state`, which every command needs; the variable LOOPSTATE_URL stands in for it. */
export function stateOption(description: string): Option {
  return new Option('-s, --state <url|path>', description).env('LOOPSTATE_URL').makeOptionMandatory();
}
