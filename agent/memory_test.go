package agent

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestOnlyCodeThatNobodyWroteToIsDropped(t *testing.T) {
	const smaps = `00400000-00d7c000 r-xp 00000000 fe:00 123                        /opt/heron
Rss:                8000 kB
Anonymous:             0 kB
00d7c000-01875000 r--p 0097c000 fe:00 123                        /opt/heron
Anonymous:             4 kB
01875000-018f0000 rw-p 01475000 fe:00 123                        /opt/heron
Anonymous:             0 kB
018f0000-01900000 r--p 01575000 fe:00 123                        /opt/heron
Anonymous:             0 kB
c000000000-c000400000 rw-p 00000000 00:00 0 
Anonymous:          4096 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 9                          /lib/other.so
Anonymous:             0 kB
7f0000002000-7f0000003000 r-xp 00000000 fe:00 9                          /opt/heron with a space
Anonymous:             0 kB
7ffd0000-7ffe0000 r-xp 00000000 00:00 0                                  [vdso]
Anonymous:             0 kB
`
	got, err := codeOf(bufio.NewScanner(strings.NewReader(smaps)), "/opt/heron")
	if err != nil || len(got) != 2 || got[0] != (span{0x400000, 0xd7c000 - 0x400000}) || got[1] != (span{0x18f0000, 0x10000}) {
		t.Errorf("%v %x", err, got)
	}
	for _, bad := range []string{"zz-00 r-xp 0 0 0 /opt/heron\nAnonymous: 0 kB\n", "20-10 r-xp 0 0 0 /opt/heron\nAnonymous: 0 kB\n"} {
		if got, err := codeOf(bufio.NewScanner(strings.NewReader(bad)), "/opt/heron"); err == nil || len(got) != 0 {
			t.Errorf("%q: %v %v", bad, got, err)
		}
	}
}

// The program goes on as before: everything it needs comes back by itself.
func TestCodeThatWasDroppedComesBack(t *testing.T) {
	before := readProcess(os.Getpid()).rss
	for range 3 {
		if err := dropCode(); errors.Is(err, os.ErrNotExist) {
			t.Skipf("this kernel does not tell what is mapped: %v", err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	after := readProcess(os.Getpid()).rss
	t.Logf("resident: %d kB, then %d kB", before>>10, after>>10)
	if after >= before {
		t.Error("nothing was handed back")
	}
	if _, err := parse([]byte("cameras: [{name: front, source: \"testcard:\"}]\nmodels: [{bundle: b}]\n"), nil); err != nil {
		t.Error(err)
	}
}
