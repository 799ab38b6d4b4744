#!/usr/bin/env bash
# The slow tests by groups of at most 40 minutes: all of them, or GROUP=spark. A group that passed is not run again for
# the same code, so a broken-off run goes on where it was; AGAIN=1 runs it all the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

groups=(tutorial spark fuzz chaos bench compose-debian compose-current)
run_group() {
    case $1 in
        tutorial)
            # The other commands of README are `make test` and compose-test.
            BUILD=1 python3 scripts/doc_commands.py README.md 'make test|.*docker'
            BUILD=1 python3 scripts/doc_commands.py docs/tutorial.md
            ;;
        spark) scripts/test-spark.sh ;;
        fuzz) scripts/fuzz.sh ;;
        chaos)
            MINUTES=10 scripts/chaos.sh
            cargo build --release --workspace --lib --bins --tests
            cargo test --release --workspace --test suite -- --ignored chaos::
            ;;
        bench) QUICK=1 scripts/bench.sh ;;
        compose-debian) DOCKERS=debian tests/compose/test.sh ;;
        compose-current) DOCKERS=current tests/compose/test.sh ;;
        *)
            echo "test-slow: there is no group $1; there are: ${groups[*]}" >&2
            return 2
            ;;
    esac
}

# What is tested: the commit and whatever differs from it.
code=$({ git rev-parse HEAD; git diff HEAD; git ls-files --others --exclude-standard -z | xargs -0r cat; } | sha256sum | cut -c -16)
passed=${CARGO_TARGET_DIR:-target}/slow/$code
mkdir -p "$passed"
for group in ${GROUP:-"${groups[@]}"}; do
    if [ -e "$passed/$group" ] && [ -z "${AGAIN:-}" ]; then
        echo "test-slow: $group passed before, $(cat "$passed/$group")"
        continue
    fi
    began=$SECONDS
    run_group "$group"
    echo "in $((SECONDS - began)) s" >"$passed/$group"
    echo "test-slow: $group passed in $((SECONDS - began)) s"
done
