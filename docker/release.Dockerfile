# hadolint global ignore=DL3059
# The programs of a release's archive: static, so that they run on any Linux of the architecture.
#   docker buildx build --file docker/release.Dockerfile --output type=local,dest=FOLDER .
#
# With musl: a static glibc loads the machine's own modules for looking up names and users, and crashes in those that
# were made for another glibc. In a file of its own, because the images of Dockerfile are made without it.

# The version of rust-toolchain.toml. Its target is musl, which links statically unless told otherwise.
FROM rust:1.95.0-alpine3.23 AS build
# bash, make, C++ and Python are what librdkafka's configure and Makefile ask for.
# hadolint ignore=DL3018
RUN apk add --no-cache bash build-base linux-headers openssl-dev openssl-libs-static perl pkgconf python3
ENV RUSTUP_TOOLCHAIN=1.95.0 \
    PROGRAMS="fetcher relay stream-processor cassandra-sink pipeline randomuser-sim"
# zlib is built from its crate. OpenSSL's folders are named, since the pkg-config crate links nothing of /usr/lib
# statically.
ENV LIBZ_SYS_STATIC=1 \
    OPENSSL_STATIC=1 \
    OPENSSL_LIB_DIR=/usr/lib \
    OPENSSL_INCLUDE_DIR=/usr/include
# librdkafka's threads get the 2 MiB that Rust's have, in place of musl's 128 KiB.
ENV RUSTFLAGS="-C link-arg=-Wl,-z,stack-size=2097152"
WORKDIR /src
COPY . .
# hadolint ignore=SC2046,SC2086
RUN cargo build --release --locked --bins $(printf -- '-p %s ' $PROGRAMS) \
    && mkdir /programs \
    && for program in $PROGRAMS; do cp "target/release/$program" /programs/ || exit 1; done \
    && python3 scripts/licences.py --texts /programs/THIRD_PARTY_LICENSES.txt

# A program that needs a loader or a library does not start here.
FROM scratch AS tried
COPY --from=build /programs /programs
RUN ["/programs/fetcher", "--version"]
RUN ["/programs/relay", "--version"]
RUN ["/programs/stream-processor", "--version"]
RUN ["/programs/cassandra-sink", "--version"]
RUN ["/programs/pipeline", "--version"]
RUN ["/programs/randomuser-sim", "--version"]

FROM scratch
COPY --from=tried /programs /
