module github.com/sotto-project/sotto/sdk/piece

go 1.26.0

require (
	github.com/sotto-project/sotto v0.0.0
	github.com/tetratelabs/wazero v1.12.0
)

require (
	github.com/fxamacker/cbor/v2 v2.9.6 // indirect
	github.com/google/go-sev-guest v0.15.0 // indirect
	github.com/google/logger v1.1.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace (
	github.com/google/logger => ./logger
	github.com/sotto-project/sotto => ../..
)
