// Command heron-tuf puts the device's TUF client behind the command line of the public TUF client conformance suite, so that
// strangers can test it.
package main

import (
	"os"

	"heron/sync/trust"
)

func main() { os.Exit(trust.Command(os.Args[1:], os.Stderr)) }
