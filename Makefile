# The work lives in scripts/ and in cargo; here are the names to call it by. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help demo demo-status demo-restart demo-down build check test bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Settings, with their defaults: DEMO_DATA=.demo DEMO_API_PORT=8080 DEMO_HTTP_PORT=8090"
	@echo "  DEMO_REDIS_BROKER_PORT=8091 DEMO_MYSQL_BROKER_PORT=8092, as in: make demo DEMO_HTTP_PORT=9000"

demo: ## set up everything, push an app, bind it to Redis and MySQL, show it
	@scripts/demo

demo-status: ## what of the demo runs
	@scripts/demo-status

demo-restart: ## stop the demo's three daemons and start them again
	@scripts/demo-down --daemons
	@scripts/demo

demo-down: ## remove all that the demo made
	@scripts/demo-down

build: ## the four programs, as optimised as can be, in target/dist
	cargo build --profile dist --locked --bins

check: ## fast: formatting, lints, docs, tests that need no Docker
	@scripts/test --quick

test: ## everything, on a bare machine too: set-up, all checks, all tests
	@scripts/test

bench: ## what broker-core costs beside handlers written by hand, as a Markdown table
	@scripts/bench
