# Everything here needs Go, git, make and gcc (for the race detector) only, but
# for what says that it needs more.
# PENSTOCK_TRACES, where it is set, names the folder of trace files for the
# tests that read them; it reaches them as it is.

GO ?= go
LINT = $(GO) tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help
.SUFFIXES:

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Run the two-minute demo: emulated model servers, a spike, a report.
	@$(GO) run ./cmd/penstock demo

.PHONY: test
test: ## Run all tests, unit and integration, with the race detector; then a thousand simulated worlds without.
	$(GO) test -race -timeout 10m ./...
	$(GO) test -timeout 10m -run '^TestSeeds$$' -v ./internal/adversary
	$(GO) test -timeout 10m -run 'History|EveryDecision|ADayTakes|WhatIsHeld' ./internal/store
	$(GO) test -timeout 10m -run '^TestAThousandServersEveryFiveSeconds$$' -v ./internal/signals

.PHONY: test-worlds
test-worlds: ## Hold the simulator against this machine: ten minutes, alone.
	PENSTOCK_WORLDS=1 $(GO) test -count=1 -timeout 20m -v -run 'SimulatorAndThisMachineAgree$$' ./internal/cli

.PHONY: test-crash
test-crash: ## Kill who writes the journal 200 times on SQLite, and 200 on PostgreSQL; nothing may be lost.
	PENSTOCK_CRASHES=200 $(GO) test -count=1 -timeout 20m -v -run 'NothingIsLostToKill$$' ./internal/store

.PHONY: test-day
test-day: ## Journal a whole day of a busy model, a tick a second, on SQLite and PostgreSQL; say what it takes.
	PENSTOCK_STORE_DAY=1 $(GO) test -count=1 -timeout 60m -v -run 'ADayTakesNoMoreThan20MB$$' ./internal/store

.PHONY: test-bench
test-bench: ## Hold rewrites of other autoscalers against their own code.
	cd bench && $(GO) test -timeout 10m ./...

# The folder of the engines: --no-print-directory and all else that is printed
# goes past it. Their installation needs python3, and npm for one case.
.PHONY: test-engines
test-engines: ## Hold Penstock against a real model server: llama.cpp, on the CPU.
	@folder=$$(test/engines/install.sh) || exit 1; \
		PENSTOCK_ENGINES=$$folder $(GO) test -count=1 -timeout 10m -v -run '^TestEngines$$' ./test/engines

# With PENSTOCK_CLIENTS in place: what the clients need of PyPI and npm.
CLIENTS = @folder=$$(test/clients/install.sh) || exit 1; cd test/clients && PENSTOCK_CLIENTS=$$folder $(GO) test -count=1 -timeout 10m -v

.PHONY: test-clients
test-clients: ## Hold the gateway against the official OpenAI clients for Go, Python and JavaScript.
	$(CLIENTS) -run '^TestOfficialClients$$' .

.PHONY: test-openapi
test-openapi: ## Hold docs/reference/openapi.yaml against a running penstock, by schemathesis.
	$(CLIENTS) -run '^TestOpenAPI$$' .

# How long, how fast and how hard: SOAK is passed on to penstock torture soak.
SOAK ?= --for 1h --rate 280 --gateways 2
.PHONY: soak
soak: build ## Mistreat Penstock for an hour: replicas and gateways killed, a million verified streams; SOAK="--for 2m" for less.
	bin/penstock torture soak $(SOAK)

.PHONY: test-hostile
test-hostile: ## Hold the gateway against hostile clients, h2spec and slowhttptest: two minutes.
	@said=$$(mktemp); PENSTOCK_HOSTILE=1 $(GO) test -count=1 -timeout 10m -v \
		-run 'H2spec|Slowhttptest|FloodsOfFrames|TakeNothing|RawRequests|OneReading|BadStreams|ProxyBehaviours' ./internal/gateway >$$said 2>&1; \
		status=$$?; if [ $$status = 0 ]; then grep -E '_test.go:[0-9]+:|^--- SKIP|^ok' $$said; else cat $$said; fi; rm $$said; exit $$status

# What the console's page is checked and tested with is installed beside the
# tree, where no other check walks: from package-lock.json, nothing of it runs.
CONSOLE = .cache/console
$(CONSOLE)/node_modules: test/console/package-lock.json
	@mkdir -p $(CONSOLE)
	cp test/console/package.json test/console/package-lock.json $(CONSOLE)/
	cd $(CONSOLE) && npm ci --silent --ignore-scripts --no-audit --no-fund
	ln -sfn ../../$(CONSOLE)/node_modules test/console/node_modules
	@touch $@

.PHONY: check-js
check-js: $(CONSOLE)/node_modules ## Check the types of the console's page. Needs Node.
	test/console/node_modules/.bin/tsc -p test/console

.PHONY: test-console
test-console: $(CONSOLE)/node_modules ## Test the console's page in a browser. Needs Node and Chromium.
	$(GO) build -o $(CONSOLE)/penstock ./cmd/penstock
	$(GO) test -c -o $(CONSOLE)/console.test ./internal/console
	PENSTOCK=$(CURDIR)/$(CONSOLE)/penstock GO_TESTS=$(CURDIR)/$(CONSOLE)/console.test SHOTS=$(CURDIR)/$(CONSOLE)/shots \
		node --test --test-timeout 300000 test/console/console.test.js

.PHONY: torture
torture: build ## Short stories of one fault each: thousands held at zero, SIGTERM while they are, overload, a sick model.
	bin/penstock torture cases

.PHONY: build
build: ## Build bin/penstock.
	$(GO) build -trimpath -o bin/penstock ./cmd/penstock

.PHONY: bench
bench: ## Run the Go benchmarks.
	$(GO) test -run '^$$' -bench . -benchmem ./internal/...

.PHONY: check
check: check-modules check-generated check-format check-lint ## Check formatting, linters, generated files, go.mod.

.PHONY: check-modules
check-modules:
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff
	cd bench && $(GO) mod tidy -diff
	cd test/clients && $(GO) mod tidy -diff

# Packages that generate files. Each has a test TestReference, which says what is
# out of date and, with UPDATE=1, writes it anew: go generate runs that.
GENERATING = $(shell git grep -l '^//go:generate' -- '*.go' | xargs -r -n 1 dirname | sort -u | sed 's|^|./|')

.PHONY: check-generated
check-generated:
	$(GO) test -run '^TestReference' $(GENERATING)
	@$(MAKE) --no-print-directory deps | diff -u deps.txt - || \
		{ echo 'deps.txt is out of date: read the difference, then run make generate' >&2; exit 1; }

.PHONY: check-format
check-format:
	$(LINT) fmt --diff

.PHONY: check-lint
check-lint:
	$(LINT) run ./...

.PHONY: fmt
fmt: ## Format the Go code.
	$(LINT) fmt

.PHONY: generate
generate: ## Write the generated files anew.
	$(GO) generate $(GENERATING)
	$(MAKE) --no-print-directory deps > deps.txt

# The modules linked into penstock, one a line, so that a new one is a line to
# be read. One platform is named, so that the list is the same everywhere.
.PHONY: deps
deps:
	@CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $(GO) list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}' ./cmd/penstock \
		| LC_ALL=C sort -u | grep .
