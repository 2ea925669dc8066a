# This file only names commands; nothing needs it.
.PHONY: lab test ci fmt bench

lab: ## the whole system on this machine
	go run ./cmd/sotto-lab

test:
	go test ./...

ci:
	bash .ci/run

fmt:
	gofmt -l -w .

bench:
	go run ./cmd/sotto-lab bench
