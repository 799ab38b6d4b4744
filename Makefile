# One line each; what they do is in scripts/.

run:   ; scripts/run.sh          # set up, build or fetch the release, start everything, run the DAG, show the rows
stop:  ; scripts/stop.sh         # stop everything that `make run` started
test:  ; scripts/test.sh         # every test but the slow ones, against real servers
test-fast: ; scripts/test-fast.sh # the tests that need no server
test-slow: ; scripts/test-slow.sh # the slow ones by groups, such as GROUP=spark
test-spark: ; scripts/test-spark.sh # Spark in place of the stream-processor, on a real cluster
lint:  ; scripts/lint.sh         # formatting, clippy, licences and advisories, shell, Python
fuzz:  ; scripts/fuzz.sh         # foreign bytes, a minute for each of those that read them
chaos: ; scripts/chaos.sh        # breaks services, servers and connections at random, then compares every stage
bench: ; scripts/bench.sh        # this pipeline and its peers side by side; QUICK=1 for a short form
env:   ; sh docker/env.sh        # .env for docker compose, with random secrets
compose-test: ; tests/compose/test.sh # docker-compose.yml as its users run it, killed and restarted
setup: ; scripts/setup.sh        # install what is missing

.PHONY: run stop test test-fast test-slow test-spark lint fuzz chaos bench env compose-test setup
