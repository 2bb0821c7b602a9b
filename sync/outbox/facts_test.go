package outbox

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// facts are what a device had been promised, and had done, when the power went.
type facts struct {
	safe, acking map[string]bool
	sent         map[string]string // epoch/seq -> record
	session      uint64
	damaged      bool
	diedAt       int64 // ms
}

func newFacts() *facts {
	return &facts{safe: map[string]bool{}, acking: map[string]bool{}, sent: map[string]string{}}
}

func (f *facts) clone() *facts {
	return &facts{maps.Clone(f.safe), maps.Clone(f.acking), maps.Clone(f.sent), f.session, f.damaged, f.diedAt}
}

func (f *facts) hear(line string) {
	w := strings.Fields(line)
	if len(w) < 2 {
		return
	}
	switch w[0] {
	case "safe", "have":
		for _, id := range w[1:] {
			f.safe[id] = true
		}
	case "acking":
		for _, id := range w[1:] {
			f.acking[id] = true
		}
	case "sent":
		n, _ := strconv.ParseUint(w[2], 10, 64)
		for i, id := range w[3:] {
			f.sent[fmt.Sprint(w[1], "/", n+uint64(i))] = id
		}
	case "session":
		f.session, _ = strconv.ParseUint(w[1], 10, 64)
	}
}

// view is what a state has to be compared with: cheap to copy, for there are many states.
type view struct {
	at      int             // the operation after which the power was cut
	due     map[string]bool // promised, and the broker does not have it
	known   []bool          // numbers sent, or named by a gap record that was sent
	session uint64
	damaged bool
}

// listen goes through what was said from one operation to the next.
func (v *view) listen(line string, epoch string) {
	f := newFacts()
	f.hear(line)
	for id := range f.safe {
		v.due[id] = true
	}
	for id := range f.acking {
		delete(v.due, id)
		v.due["-"+id] = true // said before the promise was: never due
	}
	for id := range f.safe {
		if v.due["-"+id] {
			delete(v.due, id)
		}
	}
	for key, id := range f.sent {
		if e, n, _ := strings.Cut(key, "/"); e == epoch {
			i, _ := strconv.ParseUint(n, 10, 64)
			v.know(i, i)
			v.knowGap(id)
		}
	}
	v.session = max(v.session, f.session)
}

func (v *view) know(from, to uint64) {
	for uint64(len(v.known)) <= to {
		v.known = append(v.known, false)
	}
	for n := from; n <= to; n++ {
		v.known[n] = true
	}
}

func (v *view) knowGap(id string) {
	var from, to uint64
	if !strings.HasPrefix(id, "gap:") {
		return
	}
	if _, err := fmt.Sscanf(id, "gap:%d-%d", &from, &to); err == nil && to < 1<<20 {
		v.know(from, to)
	}
}

func (v *view) clone() *view {
	return &view{v.at, maps.Clone(v.due), append([]bool(nil), v.known...), v.session, v.damaged}
}

// hole finds a number of the epoch that neither waits, nor was ever sent, nor is named by a gap record that waits or was sent.
func (f *facts) hole(got, seqs map[string]bool, epoch string) uint64 {
	known, last := map[uint64]bool{}, uint64(0)
	name := func(id string) {
		var from, to uint64
		if _, err := fmt.Sscanf(id, "gap:%d-%d", &from, &to); err == nil {
			for n := from; n <= to; n++ {
				known[n] = true
			}
		}
	}
	seq := func(key string) {
		if e, n, _ := strings.Cut(key, "/"); e == epoch {
			i, _ := strconv.ParseUint(n, 10, 64)
			known[i] = true
			last = max(last, i)
		}
	}
	for id := range got {
		name(id)
	}
	for key := range seqs {
		seq(key)
	}
	for key, id := range f.sent {
		seq(key)
		name(id)
	}
	for n := uint64(1); n < last; n++ {
		if !known[n] {
			return n
		}
	}
	return 0
}
