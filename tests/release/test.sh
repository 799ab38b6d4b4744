#!/usr/bin/env bash
# Tests what `make run` does in the checkout of a release, and how a release is packed. Takes seconds: the repository,
# the release and the programs are made here, and the machine has no compilers, no servers and no network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/release/machine.sh
source "$here/machine.sh"

passed=0
failed=0
all_programs=(fetcher relay stream-processor cassandra-sink pipeline randomuser-sim)

# Starts a case: a new checkout of the release, a new folder of releases, and nothing that was called.
begin() {
    name=$1
    case_failed=
    rm -rf "${work:?}"/{checkout,releases,home}
    mkdir -p "$work/releases/v$version" "$work/home"
    git clone --quiet "$work/origin" "$work/checkout"
    git -C "$work/checkout" remote set-url origin https://github.com/somebody/something.git
    cp "$work/packed/"* "$work/releases/v$version/"
    export RELEASE_URL=file://$work/releases
    : >"$calls"
}

end() {
    if [ -z "$case_failed" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

fail() {
    case_failed=yes
    printf 'FAILED: %s: %s\n' "$name" "$1"
    sed 's/^/    said:   /' "$work/output"
    sed 's/^/    called: /' "$calls"
}

# Runs make in the checkout, as a user would: run VARIABLE=VALUE... make run
run() {
    status=0
    (cd "$work/checkout" && env "$@") >"$work/output" 2>&1 || status=$?
}

says() { grep -qF -- "$1" "$work/output" || fail "does not say: $1"; }
called() { grep -qx -- "$1" "$calls" || fail "was not called: $1"; }
not_called() { ! grep -q -- "$1" "$calls" || fail "was called: $1"; }
succeeds() { [ "$status" -eq 0 ] || fail "ended with $status"; }
fails() { [ "$status" -ne 0 ] || fail "did not fail"; }

uses_release() {
    succeeds
    says "release v$version: nothing is compiled"
    called "released pipeline up .*"
    called "released pipeline run .*"
    not_called "^cargo"
    not_called "^built"
}

builds() {
    succeeds
    [ "$(grep '^building: ' "$work/output")" = "building: $1" ] || fail "does not say: building: $1"
    called "cargo build --release --workspace --bins.*"
    called "built pipeline up .*"
    called "built pipeline run .*"
    not_called "^released"
}

# Prints why there is a build where the release lacks a file.
missing() {
    local file=releases/v$version/$1
    echo "file://$work/$file can't be fetched (curl: (37) Couldn't open file $work/$file)"
}

refuses() {
    fails
    says "$archive is not what SHA256SUMS says"
    says "BUILD=1 make run"
    not_called "^released"
    not_called "^built"
    not_called "^cargo"
    [ -z "$(ls "$work/checkout/target")" ] || fail "something is left in target"
}

make_release

begin "the checkout of a release uses its archive, and stops with it"
run make --silent run
uses_release
[ "$(grep -c . "$work/output")" -eq 1 ] || fail "says more than one line"
run make stop
succeeds
called "released pipeline down"
end

begin "a release that was fetched is not fetched again"
run make run
rm -r "$work/releases"
: >"$calls"
run make run
uses_release
not_called "^curl"
end

begin "a release needs no compilers, a build does"
run PATH="$bin" make run
uses_release
called "apt-get install .* maven .*"
not_called "apt-get install .*\(build-essential\|pkg-config\|perl\|libssl-dev\|zlib1g-dev\)"
not_called "curl .*--tlsv1.2"
run PATH="$bin" no_network=yes BUILD=1 make run
called "apt-get install .* build-essential pkg-config perl libssl-dev zlib1g-dev .*"
called "curl .*--tlsv1.2.*"
end

begin "an archive that was tampered with is refused; BUILD=1 make run goes on"
actual=$(tamper "$work/releases/v$version/$archive")
run make run
refuses
says "SHA-256 of the archive $actual"
says "SHA-256 in SHA256SUMS  $(cut -d' ' -f1 "$work/packed/SHA256SUMS")"
run BUILD=1 make run
builds "BUILD=1"
run make stop
called "built pipeline down"
end

begin "an archive that was tampered with is not taken from the second run on either"
tamper "$work/releases/v$version/$archive" >/dev/null
run make run
run make run
refuses
end

begin "another checksum in SHA256SUMS is refused"
sed -i 's/^./x/' "$work/releases/v$version/SHA256SUMS"
run make run
refuses
says "SHA-256 in SHA256SUMS  x"
end

begin "a SHA256SUMS without the archive is refused"
sed -i 's/datastreaming-/another-/' "$work/releases/v$version/SHA256SUMS"
run make run
refuses
says "SHA-256 in SHA256SUMS  (it has none for this archive)"
end

begin "without SHA256SUMS nothing is trusted"
rm "$work/releases/v$version/SHA256SUMS"
run make run
builds "$(missing SHA256SUMS)"
end

begin "a release that can't be reached is built, and used once it can be"
mv "$work/releases" "$work/away"
run make run
builds "$(missing SHA256SUMS)"
mv "$work/away" "$work/releases"
: >"$calls"
run make run
uses_release
run make stop
called "released pipeline down"
end

begin "a release without this machine's archive is built"
rm "$work/releases/v$version/$archive"
run make run
builds "$(missing "$archive")"
end

begin "plain HTTP is not used"
run RELEASE_URL=http://127.0.0.1:9/releases make run
says "building: http://127.0.0.1:9/releases/v$version/SHA256SUMS can't be fetched (curl: (1) "
end

begin "a changed file is built"
echo >>"$work/checkout/Cargo.toml"
run make run
builds "the checkout is changed since v$version (Cargo.toml)"
end

begin "a new file is built"
touch "$work/checkout/new.rs"
run make run
builds "the checkout is changed since v$version (new.rs)"
end

begin "a commit after the tag is built"
git -C "$work/checkout" commit --quiet --allow-empty --message later
run make run
builds "no release tag here"
end

begin "a folder without a repository is built, whatever it is in"
rm -rf "$work/checkout/.git"
git -C "$work" init --quiet
git -C "$work" commit --quiet --allow-empty --message another
git -C "$work" tag "v$version"
run make run
builds "no release tag here"
rm -rf "$work/.git"
end

begin "a tag of another version is built"
git -C "$work/checkout" tag --delete "v$version" >/dev/null
git -C "$work/checkout" tag v9.9.9
run make run
builds "the tag here is v9.9.9, but Cargo.toml has version $version"
end

begin "two tags, one of them the version's"
git -C "$work/checkout" tag "v$version-rc.1"
run make run
uses_release
end

begin "SPARK=1 is built, with the module"
run SPARK=1 make run
builds "SPARK=1 needs the module for Spark, which is not in a release's archive"
called "cargo build --release --workspace --bins --lib"
end

begin "another architecture is built"
run machine=riscv64 make run
builds "releases have no programs for Linux riscv64"
end

begin "another target folder"
run CARGO_TARGET_DIR="$work/elsewhere" make run
uses_release
run CARGO_TARGET_DIR="$work/elsewhere" make stop
called "released pipeline down"
[ ! -e "$work/checkout/target" ] || fail "made target"
rm -r "$work/elsewhere"
end

begin "an origin that is not on GitHub has no releases"
git -C "$work/checkout" remote set-url origin "$work/origin"
run RELEASE_URL= make run
builds "no release is looked for: the remote origin is not on GitHub and RELEASE_URL is not set"
end

begin "no origin"
git -C "$work/checkout" remote remove origin
run RELEASE_URL= make run
builds "no release is looked for: the remote origin is not on GitHub and RELEASE_URL is not set"
end

begin "where releases are follows from the origin, without its password"
for origin in https://github.com/some-body/some.thing https://github.com/some-body/some.thing.git/ \
    https://user:secret@github.com/some-body/some.thing.git git@github.com:some-body/some.thing.git \
    ssh://git@github.com/some-body/some.thing.git; do
    git -C "$work/checkout" remote set-url origin "$origin"
    : >"$calls"
    run RELEASE_URL= no_network=yes make run
    called "curl .* https://github.com/some-body/some.thing/releases/download/v$version/SHA256SUMS"
    succeeds
    says "/some.thing/releases/download/v$version/SHA256SUMS can't be fetched (curl: (6) no network)"
    not_called secret
done
for origin in https://github.com.example/a/b https://example/github.com/a/b git@example:github.com/a/b \
    https://github.com/a; do
    git -C "$work/checkout" remote set-url origin "$origin"
    : >"$calls"
    run RELEASE_URL= no_network=yes make run
    builds "no release is looked for: the remote origin is not on GitHub and RELEASE_URL is not set"
done
end

begin "nothing to stop"
run make stop
succeeds
says "nothing was built or fetched here"
end

begin "what was built without make run is stopped"
mkdir -p "$work/checkout/target/release"
(cd "$work/checkout" && cargo build)
run make stop
called "built pipeline down"
end

begin "the same programs give the same archive, whatever their times and the umask"
cp -r "$work/programs" "$work/copy"
touch --date=2001-01-01 "$work/copy"/*
chmod 700 "$work/copy"/*
(umask 077 && cd "$work" && "$work/checkout/scripts/package.sh" copy again) >"$work/output"
cmp "$work/packed/$archive" "$work/again/$archive" || fail "other bytes"
cmp "$work/packed/SHA256SUMS" "$work/output" || fail "another line"
end

begin "an archive has the programs and the licences, for anybody to read"
tar -tvzf "$work/packed/$archive" | awk '{ print $1, $2, $6 }' | sort >"$work/output"
folder=${archive%.tar.gz}
{
    echo "drwxr-xr-x 0/0 $folder/"
    printf -- "-rw-r--r-- 0/0 $folder/%s\n" LICENSE THIRD_PARTY.md THIRD_PARTY_LICENSES.txt
    printf -- "-rwxr-xr-x 0/0 $folder/%s\n" "${all_programs[@]}"
} | sort | diff - "$work/output" || fail "another content"
end

begin "an archive without one of the programs is not made"
rm "$work/copy/relay"
run scripts/package.sh "$work/copy" "$work/none"
fails
says "copy/relay does not exist"
[ ! -e "$work/none" ] || fail "made something"
end

begin "an archive without the licences of others is not made, and the advice helps"
rm -r "$work/copy"
cp -r "$work/programs" "$work/copy"
rm "$work/copy/THIRD_PARTY_LICENSES.txt"
run scripts/package.sh "$work/copy" "$work/none"
fails
says "python3 scripts/licences.py --texts $work/copy/THIRD_PARTY_LICENSES.txt"
[ ! -e "$work/none" ] || fail "made something"
# With the repository's own cargo and Python, which this machine has not.
(cd "$root" && PATH=$real_path HOME=$real_home python3 scripts/licences.py --texts "$work/copy/THIRD_PARTY_LICENSES.txt") \
    >"$work/output" 2>&1 || fail "the advice does not help"
grep -q '^tokio ' "$work/copy/THIRD_PARTY_LICENSES.txt" || fail "has no licence of tokio"
run scripts/package.sh "$work/copy" "$work/with-licences"
succeeds
end

begin "a release has notes, and all files name its version"
run scripts/release-notes.sh "v$version"
fails
says "CHANGELOG.md has no section \"## $version\""
sed -i "s/^## Unreleased/## $version - 2026-01-01/" "$work/checkout/CHANGELOG.md"
run scripts/release-notes.sh "v$version"
succeeds
says "### Added"
run scripts/release-notes.sh v9.9.9
fails
says "the tag is v9.9.9, but Cargo.toml has version $version"
sed -i 's|datastreaming/relay:.*|datastreaming/relay:9.9.9|' "$work/checkout/docker-compose.yml"
run scripts/release-notes.sh "v$version"
fails
says "image: datastreaming/relay:9.9.9"
end

echo "release: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
