package outbox

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// SalvageArg, as the first argument, makes a process one that saves what a damaged outbox still holds. The outbox starts its own executable
// like that; main must begin with
//
//	if len(os.Args) > 1 && os.Args[1] == outbox.SalvageArg { os.Exit(outbox.SalvageMain(os.Args[2:])) }
//
// and so must TestMain where a test damages an outbox. If it does not, nothing is saved, and that is counted.
const SalvageArg = "salvage-outbox"

const (
	salvageLimit = 20 * time.Second
	salvageMagic = "heron salvage 1\n"
	frameGroup   = 'g'
	frameEnd     = 'e'
)

// salvaged is the child's last word.
type salvaged struct {
	Known    bool  `json:"known"`    // the file's own count could be read
	Expected int64 `json:"expected"` // records, by that count
	Found    int64 `json:"found"`    // records
	Bad      int64 `json:"bad"`      // groups that could not be put together

	Session uint64 `json:"session"` // the last one that was counted
}

// lost is how many records were lost by the file's own count, and how many at most: what was found may hold some that had been delivered.
func (s salvaged) lost() (lost, atMost uint64) {
	bad := s.Bad * maxSealRecords
	if !s.Known {
		return uint64(bad), uint64(bad)
	}
	missing := max(s.Expected-s.Found, 0)
	return uint64(missing), uint64(min(s.Expected, missing+bad))
}

// SalvageMain writes every whole group of the file named by args to standard output, in a form for the parent only, and returns the exit code.
func SalvageMain(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: "+SalvageArg+" FILE")
		return 2
	}
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	out.WriteString(salvageMagic)
	err := guard(func() error { return salvageFile(args[0], out) })
	if flush := out.Flush(); err == nil {
		err = flush
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func salvageFile(path string, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := salvaged{}
	send := func(g found) error {
		if g.err != nil {
			sum.Bad++
			return nil
		}
		sum.Found += int64(g.count)
		return writeGroup(out, g.key, g.head, g.body)
	}
	sv, err := surveyFile(f, false, nil)
	if err == nil && sv.known {
		sum.Bad = int64(len(sv.bad))
		_, err = surveyFile(f, false, send)
		sum.count(sv.state)
	} else {
		err = scavengeFile(f, send, &sum)
	}
	if err != nil {
		return err
	}
	end, _ := json.Marshal(sum) // numbers cannot fail
	_, err = out.Write(append(binary.BigEndian.AppendUint32([]byte{frameEnd}, uint32(len(end))), end...))
	return err
}

func (s *salvaged) count(st state) {
	s.Known, s.Session = true, st.session
	for _, c := range st.streams {
		s.Expected += c.records
	}
}

// scrap is a part found somewhere in the file.
type scrap struct {
	key  uint64
	part uint16
	size uint16
	at   int64
}

func scavengeFile(f *os.File, send func(found) error, sum *salvaged) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return scavenge(f, info.Size(), send, sum)
}

// scavenge looks at every page of the file for parts of groups, in use or not, and puts together what it can. Groups that the file's own
// record, if it is found, knows to be done with are left out.
func scavenge(r io.ReaderAt, length int64, send func(found) error, sum *salvaged) error {
	p := &pageReader{r: r, size: int64(os.Getpagesize())}
	if q, err := newPageReader(r, length); err == nil {
		p.size = q.size
	}
	p.meta.high = uint64(length / p.size)
	var scraps []scrap
	var st state
	err := p.leaves(func(at int64, x element) error {
		switch {
		case x.flags == bucketFlag && string(x.key) == bucketMeta && len(x.value) > 16:
			if s, ok := inlineState(x.value[16:]); ok && s.next >= st.next {
				st = s
			}
		case x.flags == 0 && string(x.key) == keyState:
			if s, err := decodeState(x.value); err == nil && s.next >= st.next {
				st = s
			}
		case x.flags == 0 && len(x.key) == keyBytes && len(x.value) <= partBytes:
			scraps = append(scraps, scrap{binary.BigEndian.Uint64(x.key), binary.BigEndian.Uint16(x.key[8:]), uint16(len(x.value)), at})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if st.epoch != "" {
		sum.count(st)
		sum.Session += 1000 // the newest record may be among what is lost, and sessions must rise
	}
	slices.SortFunc(scraps, func(a, b scrap) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.part, b.part)) })
	scraps = slices.CompactFunc(scraps, func(a, b scrap) bool { return a.key == b.key && a.part == b.part })
	return assemble(r, scraps, func(g found) error {
		if r := rank(g.head.stream); g.err == nil && g.key < st.streams[r].head {
			return nil
		}
		return send(g)
	})
}

func assemble(r io.ReaderAt, scraps []scrap, out func(found) error) error {
	var a assembler
	buf := make([]byte, partBytes)
	for _, s := range scraps {
		v := buf[:s.size]
		if _, err := r.ReadAt(v, s.at); err != nil {
			continue
		}
		if err := a.add(partKey(s.key, int(s.part)), v, out); err != nil {
			return err
		}
	}
	return a.flush(out)
}

func inlineState(b []byte) (state, bool) {
	if len(b) < pageHead || binary.NativeEndian.Uint16(b[8:]) != pageLeaf {
		return state{}, false
	}
	xs, err := elements(b)
	if err != nil {
		return state{}, false
	}
	for _, x := range xs {
		if string(x.key) == keyState {
			s, err := decodeState(x.value)
			return s, err == nil
		}
	}
	return state{}, false
}

func writeGroup(w io.Writer, key uint64, h head, body []byte) error {
	b := encodeHead(h, partsOf(len(body)), len(body))
	binary.BigEndian.PutUint32(b[8:], groupSum(key, b, body))
	pre := binary.BigEndian.AppendUint32([]byte{frameGroup}, uint32(8+len(b)+len(body)))
	pre = binary.BigEndian.AppendUint64(pre, key)
	_, err := w.Write(append(append(pre, b...), body...))
	return err
}

// runSalvage starts the child and hands on what it sends, some groups at a time.
func runSalvage(ctx context.Context, path string, take func([]*group) error) (salvaged, error) {
	exe, err := os.Executable()
	if err != nil {
		return salvaged{}, fmt.Errorf("find own executable: %w", err)
	}
	cmd := exec.CommandContext(ctx, exe, SalvageArg, path)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOMEMLIMIT=64MiB")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // Pdeathsig goes by the thread that starts the child
	defer runtime.UnlockOSThread()
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return salvaged{}, fmt.Errorf("make a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return salvaged{}, fmt.Errorf("start %s: %w", exe, err)
	}
	sum, err := readSalvage(bufio.NewReaderSize(pipe, 64<<10), take)
	if err != nil && cmd.Process != nil {
		_ = cmd.Process.Kill() // our own child: its output is of no use any more
	}
	if wait := cmd.Wait(); err == nil && wait != nil {
		err = fmt.Errorf("the child: %w", wait)
	}
	return sum, err
}

func readSalvage(r *bufio.Reader, take func([]*group) error) (sum salvaged, err error) {
	magic := make([]byte, len(salvageMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != salvageMagic {
		return sum, errors.New("the child is not one that saves: main does not know outbox.SalvageArg")
	}
	var gs []*group
	size := 0
	hand := func() error {
		defer func() { gs, size = nil, 0 }()
		if len(gs) == 0 {
			return nil
		}
		return take(gs)
	}
	for {
		kind, b, err := readFrame(r)
		if err != nil {
			return sum, errors.Join(hand(), err)
		}
		if kind == frameEnd {
			if err := json.Unmarshal(b, &sum); err != nil {
				return sum, errors.Join(hand(), err)
			}
			return sum, hand()
		}
		key := binary.BigEndian.Uint64(b)
		h, err := decodeGroup(key, b[8:8+headBytes], b[8+headBytes:])
		if err != nil {
			return sum, errors.Join(hand(), err)
		}
		sum.Found += int64(h.count)
		gs = append(gs, &group{head: h, body: b[8+headBytes:]})
		if size += len(b); size > commitBytes/8 {
			if err := hand(); err != nil {
				return sum, err
			}
		}
	}
}

func readFrame(r io.Reader) (kind byte, b []byte, err error) {
	var pre [5]byte
	if _, err := io.ReadFull(r, pre[:]); err != nil {
		return 0, nil, fmt.Errorf("the child ended early: %w", err)
	}
	n := binary.BigEndian.Uint32(pre[1:])
	if n > 8+headBytes+maxParts*partBytes || pre[0] == frameGroup && n < 8+headBytes || pre[0] != frameGroup && pre[0] != frameEnd {
		return 0, nil, errors.New("the child sent nonsense")
	}
	b = make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, nil, fmt.Errorf("the child ended early: %w", err)
	}
	return pre[0], b, nil
}
