# shellcheck shell=bash
# Sourced by test.sh: a machine that has what the scripts need and nothing else, and a release of the project.
# $calls gets a line for each call of a program that is not real.
# shellcheck disable=SC2016 # The programs' own variables.

calls=$work/calls
bin=$work/bin
installed=$work/installed
touch "$calls" "$work/output"
export calls

# Git without the settings of whoever runs the test.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@example.com
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@example.com
unset BUILD SPARK KRAFT SOURCE COUNT CARGO_TARGET_DIR SOURCE_DATE_EPOCH MAKEFLAGS MAKELEVEL

# Makes a program of the text on standard input, whose variables are those of its own run.
program() {
    { echo '#!/bin/bash' && cat; } >"$1"
    chmod 755 "$1"
}

mkdir "$bin" "$installed"
for real in awk bash basename cat chmod cmp cp cut diff dirname env git grep gzip head id install ln ls make mkdir \
    mktemp mv realpath rm sed sha256sum sh sort tail tar touch tr; do
    ln -s "$(command -v "$real")" "$bin/$real"
done

# The real one for files; there is no network.
program "$bin/curl" <<END
echo "curl \$*" >>"\$calls"
if [ -n "\${no_network:-}" ]; then
    echo "curl: (6) no network" >&2
    exit 6
fi
exec $(command -v curl) "\$@"
END
# The architecture of the case, if it has one.
program "$bin/uname" <<END
if [ "\$1" = -m ] && [ -n "\${machine:-}" ]; then echo "\$machine"; else exec $(command -v uname) "\$@"; fi
END
program "$bin/apt-get" <<<'echo "apt-get $*" >>"$calls"'
program "$bin/sudo" <<<'exec "$@"'
program "$bin/java" <<<'echo "openjdk version \"17.0.1\" 2021-10-19" >&2'
program "$bin/python3" <<<''

# What setup.sh installs where it is missing. PATH=$bin is a machine without it.
for package in cc c++ pkg-config perl xz mvn; do
    program "$installed/$package" <<<''
done
program "$installed/dpkg-query" <<<'echo "install ok installed"'
# Builds a pipeline and what fetches the servers.
program "$installed/cargo" <<'END'
echo "cargo $*" >>"$calls"
folder=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$folder"
for program in pipeline local-servers; do
    printf '#!/bin/bash\necho "built %s $*" >>"$calls"\n' "$program" >"$folder/$program"
    chmod +x "$folder/$program"
done
END
real_path=$PATH real_home=$HOME
export PATH=$installed:$bin HOME=$work/home

# A repository with this project's scripts and the tag of its version, and the archive of that release.
make_release() {
    local name
    version=$(source "$root/scripts/env.sh" && workspace_version)
    archive=datastreaming-$version-$(uname -m).tar.gz
    mkdir "$work/origin" "$work/programs"
    (cd "$root" && cp -r --parents .gitignore Cargo.toml LICENSE Makefile THIRD_PARTY.md docker-compose.yml \
        docker/Dockerfile scripts spark/users_job.py "$work/origin")
    printf '# Changelog\n\n## Unreleased\n\n### Added\n\n- Something.\n\n## 0.0.1\n\n- The first.\n' \
        >"$work/origin/CHANGELOG.md"
    git -C "$work/origin" init --quiet
    git -C "$work/origin" add .
    git -C "$work/origin" commit --quiet --message release
    git -C "$work/origin" tag "v$version"
    for name in "${all_programs[@]}"; do
        program "$work/programs/$name" <<<"echo \"released $name \$*\" >>\"\$calls\""
    done
    echo "MIT, by somebody" >"$work/programs/THIRD_PARTY_LICENSES.txt"
    mkdir "$work/packed"
    "$work/origin/scripts/package.sh" "$work/programs" "$work/packed" >"$work/packed/SHA256SUMS"
}

# Puts another program into the archive $1 and prints its checksum.
tamper() {
    rm -rf "$work/tampered"
    cp -r "$work/programs" "$work/tampered"
    program "$work/tampered/pipeline" <<<'echo "released tampered $*" >>"$calls"'
    "$work/origin/scripts/package.sh" "$work/tampered" "$(dirname "$1")" | cut -d' ' -f1
}
