# shellcheck shell=bash
# Sourced by run.sh, after env.sh: the programs of a release in place of built ones, where the checkout is that release.
# RELEASE_URL/vVERSION/ has the archives and SHA256SUMS. RELEASE_URL is the project's own releases unless it is set, and
# may be file:///some/folder.

version=$(workspace_version)
tag=v$version
archive=datastreaming-$version-$(uname -m).tar.gz
# The archive has all in a folder of its own name.
release="${CARGO_TARGET_DIR:-target}/${archive%.tar.gz}"

# Prints where releases are; nothing if that is not known.
release_url() {
    local origin
    if [ -n "${RELEASE_URL:-}" ]; then
        echo "${RELEASE_URL%/}"
        return
    fi
    origin=$(git remote get-url origin 2>/dev/null) || return 0
    origin=${origin%/}
    # Without what may stand before the host: user, or user and password.
    if [[ $origin =~ ^(https?://([^/@]*@)?|(ssh://)?git@)github\.com[:/]([^/]+/[^/]+)$ ]]; then
        echo "https://github.com/${BASH_REMATCH[4]%.git}/releases/download"
    fi
}

# Prints why the programs have to be built here; nothing if this checkout is a release's.
why_build() {
    local tags="" changes
    if [ -n "${BUILD:-}" ]; then
        echo "BUILD=$BUILD"
        return
    fi
    if [ -n "${SPARK:-}" ]; then
        echo "SPARK=$SPARK needs the module for Spark, which is not in a release's archive"
        return
    fi
    # Without a repository of its own the folder may be in somebody else's, whose tags are not ours.
    if [ -e .git ]; then
        tags=$(git tag --points-at HEAD --list 'v*' 2>/dev/null) || tags=""
    fi
    if [ -z "$tags" ]; then
        echo "no release tag here"
        return
    fi
    if ! grep -qxF "$tag" <<<"$tags"; then
        echo "the tag here is ${tags//$'\n'/, }, but Cargo.toml has version $version"
        return
    fi
    changes=$(git status --porcelain) || changes="   git status fails"
    if [ -n "$changes" ]; then
        changes=${changes%%$'\n'*}
        echo "the checkout is changed since $tag (${changes:3})"
        return
    fi
    case "$(uname -s) $(uname -m)" in
        "Linux x86_64" | "Linux aarch64") ;;
        *)
            echo "releases have no programs for $(uname -s) $(uname -m)"
            return
            ;;
    esac
    if [ -z "$(release_url)" ]; then
        echo "no release is looked for: the remote origin is not on GitHub and RELEASE_URL is not set"
    fi
}

# Downloads $1 to the file $2. Plain HTTP is refused: SHA256SUMS comes the same way as what it vouches for.
download() {
    curl -fsSL --proto '=https,file' --proto-redir '=https' --connect-timeout 10 --speed-limit 1024 --speed-time 30 \
        --retry 2 -o "$2" "$1"
}

# Fetches the release into $release, if it is not there, and checks it before any of it is unpacked. Sets why_not if it
# can't be fetched. An archive that is not what SHA256SUMS says ends the script.
fetch_release() {
    local url file work expected actual
    url=$(release_url)/$tag
    why_not=""
    if [ -x "$release/pipeline" ]; then
        echo "release $tag: nothing is compiled, $release has it already"
        return
    fi
    echo "release $tag: nothing is compiled, fetching and checking $url/$archive"

    # Beside its place, so that it gets there whole or not at all.
    mkdir -p "${release%/*}"
    work=$(mktemp -d "$release.XXXXXX")
    # shellcheck disable=SC2064 # The value of now.
    trap "rm -rf '$work'" EXIT
    for file in SHA256SUMS "$archive"; do
        if ! why_not=$(download "$url/$file" "$work/$file" 2>&1); then
            why_not="$url/$file can't be fetched (${why_not##*$'\n'})"
            return
        fi
    done
    why_not=""

    expected=$(awk -v file="$archive" '$2 == file || $2 == "*" file { print $1 }' "$work/SHA256SUMS")
    actual=$(sha256sum "$work/$archive" | cut -d' ' -f1)
    if [ "$actual" != "$expected" ]; then
        cat >&2 <<END
release $tag: $archive is not what SHA256SUMS says, so nothing of it is used
    fetched from           $url/
    SHA-256 of the archive $actual
    SHA-256 in SHA256SUMS  ${expected:-(it has none for this archive)}
To build the programs from this checkout instead: BUILD=1 make run
END
        exit 1
    fi

    tar -xzf "$work/$archive" -C "$work" --no-same-owner
    rm -rf "$release"
    mv "$work/${release##*/}" "$release"
}
