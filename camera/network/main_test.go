package network

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // they wait for servers that stall
		panic(err)
	}
	os.Exit(m.Run())
}
