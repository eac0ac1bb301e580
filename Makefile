# Every target that a person or CI runs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN      := $(CURDIR)/bin
DATA     ?= ../shared/data
FUZZTIME ?= 3s
GOLANGCI := $(BIN)/golangci-lint

export CGO_ENABLED ?= 0
export PATH := $(BIN):$(PATH)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

.PHONY: run
run: build ## Show the whole loop on this machine, without an account (mlops-bot demo)
	$(BIN)/mlops-bot demo

.PHONY: build
build: ## Build the command line into bin/
	@mkdir -p $(BIN)
	go build -trimpath -o $(BIN)/ ./cmd/mlops-bot

.PHONY: test
test: test-deps check chart unit fuzz ## Set up what the tests need, then run all checks and tests

.PHONY: test-deps
test-deps: ## Install what the tests need: Redis, Postgres' programs, GitHub's API description
	@tools/install-test-deps

.PHONY: unit
unit: $(BIN)/helm ## Run the tests
	go test -timeout 20m ./...

.PHONY: race
race: ## Run the tests under the race detector
	CGO_ENABLED=1 go test -race -timeout 40m ./shared/... ./functions/... ./cmd/...

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME
	@tools/fuzz $(FUZZTIME)

.PHONY: check
check: lint docs-check ## Formatting, linters, generated pages
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go mod verify >/dev/null
	go mod tidy -diff

.PHONY: lint
lint: $(GOLANGCI) ## Run golangci-lint, which also holds the import rules
	$(GOLANGCI) run ./...

# The tools are pinned in tools/go.mod and built when they are first needed.
package_golangci-lint := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
package_helm          := helm.sh/helm/v3/cmd/helm
package_helm-unittest := github.com/helm-unittest/helm-unittest/cmd/helm-unittest
package_helm-docs     := github.com/norwoodj/helm-docs/cmd/helm-docs
package_kubeconform   := github.com/yannh/kubeconform/cmd/kubeconform
package_ko            := github.com/google/ko
package_crane         := github.com/google/go-containerregistry/cmd/crane

$(BIN)/golangci-lint $(BIN)/helm $(BIN)/helm-unittest $(BIN)/helm-docs $(BIN)/kubeconform $(BIN)/ko $(BIN)/crane: $(BIN)/%: tools/go.mod
	@mkdir -p $(BIN)
	cd tools && go build -trimpath -o $@ $(package_$*)

.PHONY: chart
chart: $(BIN)/helm $(BIN)/helm-unittest $(BIN)/kubeconform ## Check the chart: lint, the templates' tests, Kubernetes' and Knative's schemas
	tools/chart-check

HELM_DOCS := $(BIN)/helm-docs --chart-search-root charts --sort-values-order file --log-level error

.PHONY: docs
docs: $(BIN)/helm $(BIN)/helm-docs ## Write the generated pages and manifests anew
	go run ./docs/generate -write
	$(HELM_DOCS)
	tools/config-knative write

.PHONY: docs-check
docs-check: $(BIN)/helm $(BIN)/helm-docs ## Fail when a generated page or manifest is stale
	go run ./docs/generate
	@$(HELM_DOCS) --dry-run | diff -q - charts/mlops-bot/README.md >/dev/null || { echo "charts/mlops-bot/README.md is stale: make docs"; exit 1; }
	tools/config-knative check

.PHONY: images
images: $(BIN)/ko $(BIN)/crane ## Build and push the images (REGISTRY=host/path, TAG=…)
	tools/images $(REGISTRY) $(TAG)

# The proof on a cluster: what it needs to know of yours.
STORES  ?= $(REGISTRY)
DOMAIN  ?= knative.test
VOLUMES ?=
RUN     ?=

.PHONY: e2e
e2e: $(BIN)/ko $(BIN)/crane ## Prove the bot on a real cluster (KUBECONFIG, REGISTRY, INGRESS, HOST_IP; docs/operations.md)
	@: $${KUBECONFIG:?set KUBECONFIG} $(or $(REGISTRY),$(error set REGISTRY)) $(or $(INGRESS),$(error set INGRESS)) $(or $(HOST_IP),$(error set HOST_IP))
	@mkdir -p $(BIN)/e2e
	tools/store-images $(BIN)/e2e $(STORES)
	PLATFORMS=linux/amd64 tools/images $(REGISTRY) e2e > $(BIN)/e2e/images
	PLATFORMS=linux/amd64 tools/images $(REGISTRY) hello ./test/cluster/hello >> $(BIN)/e2e/images
	PLATFORMS=linux/amd64 LABELS=org.opencontainers.image.version=next tools/images $(REGISTRY) next > $(BIN)/e2e/images-next
	go build -o $(BIN)/e2e/cluster ./test/cluster
	$(BIN)/e2e/cluster -registry $(REGISTRY) -images $(BIN)/e2e/images -new-images $(BIN)/e2e/images-next -stores $(STORES) \
	  -ingress $(INGRESS) -domain $(DOMAIN) -host-ip $(HOST_IP) -volumes "$(VOLUMES)" -run "$(RUN)"
	$(BIN)/e2e/cluster -page docs/benchmarks.md

.PHONY: accuracy
accuracy: ## Measure diagnoses and plans on real data (DATA=folder)
	go run ./test/accuracy -data $(DATA)

.PHONY: calibrate
calibrate: ## Fit the confidence of findings on the labelled logs of DATA and of test/accuracy/corpus/held
	go run ./test/accuracy -data $(DATA) -calibrate functions/detect/rules/confidence.json

.PHONY: bench-diagnose
bench-diagnose: ## Measure diagnoses beside ripgrep and grep with the same patterns over the logs of DATA
	@mkdir -p $(BIN)
	go build -trimpath -o $(BIN)/bench ./test/bench
	$(BIN)/bench -data $(DATA)

.PHONY: bench
bench: ## Run the benchmarks, each beside its baseline
	go test -run '^$$' -bench . -benchmem ./functions/webhook ./functions/detect/... ./shared/store ./test/e2e
