#!/usr/bin/env bash
# go vet and gofmt decide; staticcheck and golangci-lint, where they happen to be installed, advise: what passes must not depend on the machine, and
# without cgo they take for unused what only the native files use.
. "$(dirname "$0")/env.sh"

bad=0
unformatted=$(git ls-files --cached --others --exclude-standard '*.go' | xargs -r gofmt -l)
if [ -n "$unformatted" ]; then
  printf 'not gofmt-ed:\n%s\n' "$unformatted"
  bad=1
fi
CGO_ENABLED=0 go vet ./... || bad=1
for tool in staticcheck golangci-lint; do
  command -v "$tool" >/dev/null || { say "$tool is not installed: skipped"; continue; }
  case $tool in
  staticcheck) CGO_ENABLED=0 staticcheck ./... || say "$tool has advice; it decides nothing" ;;
  golangci-lint) CGO_ENABLED=0 golangci-lint run || say "$tool has advice; it decides nothing" ;;
  esac
done
exit $bad
