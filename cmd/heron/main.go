// Command heron is the edge agent: it keeps and delivers what heron-vision sees. It links no native code.
package main

import (
	"os"

	"heron/agent/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
