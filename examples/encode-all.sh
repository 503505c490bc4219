#!/bin/sh
# Encodes every .wav below a folder by `loopstate run`, each of them once, however often the script is stopped or killed: run it again,
# and it goes on where it was. Those that failed have another chance then. It needs `loopstate` on the PATH, as it is in npm scripts.
#
#     encode-all.sh <folder>        (ENCODE: the command that writes the encoded file to its output; default: flac)
#
# Exit 0: all are encoded. 1: some failed. Anything else is what `loopstate run` said: see `loopstate --help`.
set -eu

folder=${1:?which folder?}
state=$folder/.encode-all.json
export ENCODE="${ENCODE:-flac --silent --stdout}"

# While another encode-all.sh is at work here this ends with 5, and so does the script.
if [ -e "$state" ]; then loopstate retry --state "$state" --failed; fi

# A half-written file never has the name of a whole one: what was encoding when the power went is encoded anew.
code=0
find "$folder" -type f -name '*.wav' -print |
  loopstate run --state "$state" --jobs 2 --retries 1 --shell -- '$ENCODE "$1" > "$1.part" && mv "$1.part" "${1%.wav}.flac"' ||
  code=$?

case $code in
  0 | 1) ;;
  3 | 4 | 129 | 130 | 143) echo "Not done yet: run $0 again to go on." >&2 && exit "$code" ;;
  *) echo "It could not be run (exit $code)." >&2 && exit "$code" ;;
esac

if ! loopstate status --state "$state" --check > /dev/null; then
  echo 'Some could not be encoded:' >&2
  loopstate list --state "$state" --failed >&2
  exit 1
fi
echo "All in $folder are encoded."
