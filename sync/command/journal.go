package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"heron/internal/atomicfile"
	"heron/internal/clock"
	"heron/sync/message"
)

// journal remembers commands: a line for each change, its CRC-32C in front, synced before it counts. It is written anew when it has
// many more lines than there are commands.
type journal struct {
	path  string
	file  *os.File // nil: to be opened
	size  int64    // of what is good in it
	lines int
	n     uint64 // of the next new command
	known map[string]entry
	last  map[string]moment // by type, where the type has a limit
	boot  string            // this one
	up    func() time.Duration
}

// entry is one command as it stands.
type entry struct {
	message.Answer
	Kind string `json:"kind"`
	By   string `json:"by,omitempty"`
	Boot string `json:"boot"`
	N    uint64 `json:"n"` // in order of arrival
}

// moment is when something was begun, by whatever clock there is.
type moment struct {
	Boot   string        `json:"boot"`
	Up     time.Duration `json:"up"` // since that boot
	Wall   time.Time     `json:"wall"`
	Synced bool          `json:"synced"`
}

// line is one of the file.
type line struct {
	Entry *entry            `json:"e,omitempty"`
	Last  map[string]moment `json:"last,omitempty"`
}

const maxLines = 4 * maxKnown

// openJournal reads what is there. Damaged lines are left out and told; a torn last line is what a power cut leaves, and is not.
func openJournal(path string) (*journal, error) {
	j := &journal{path: path, known: map[string]entry{}, last: map[string]moment{}, boot: clock.BootID(), up: clock.SinceBoot}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return j, fmt.Errorf("read the journal of commands: %w", err)
	}
	j.size = int64(bytes.LastIndexByte(b, '\n') + 1)
	bad := 0
	rows := bytes.SplitAfter(b, []byte("\n"))
	for i, row := range rows {
		if len(row) == 0 {
			continue
		}
		l, ok := readLine(row)
		if !ok {
			if i < len(rows)-1 {
				bad++
			}
			continue
		}
		j.apply(l)
	}
	j.forget(false)
	if err := j.rewrite(); err != nil {
		return j, fmt.Errorf("write the journal of commands anew: %w", err)
	}
	if bad > 0 {
		return j, fmt.Errorf("%s: %d damaged lines left out; a command that stood there could be done again if it is repeated before it expires", path, bad)
	}
	return j, nil
}

func (j *journal) apply(l line) {
	if l.Entry != nil {
		j.known[l.Entry.ID] = *l.Entry
		j.n = max(j.n, l.Entry.N+1)
	}
	for kind, m := range l.Last {
		j.last[kind] = m
	}
	j.lines++
}

// put keeps how a command stands.
func (j *journal) put(e entry, synced bool) error { return j.begin(e, false, synced) }

// begin keeps that an act was begun; with limited, when.
func (j *journal) begin(e entry, limited, synced bool) error {
	e.Boot = j.boot
	old, ok := j.known[e.ID]
	if e.N = old.N; !ok {
		e.N = j.n
	}
	l := line{Entry: &e}
	if limited {
		l.Last = map[string]moment{e.Kind: {j.boot, j.up(), time.Now().UTC(), synced}}
	}
	err := j.write(writeLine(l))
	if err != nil && !e.Answer.Final() {
		return err
	}
	j.apply(l) // an end is remembered while this runs, even where the disk is gone
	j.forget(synced)
	if err == nil && j.lines > maxLines {
		err = j.rewrite()
	}
	return err
}

// write appends and syncs. What a failed try may have left is cut off by the next.
func (j *journal) write(b []byte) error {
	if j.file == nil {
		_, err := os.Stat(j.path)
		fresh := errors.Is(err, fs.ErrNotExist)
		f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o640)
		if err != nil {
			return err
		}
		if fresh {
			j.size = 0
			if err := atomicfile.SyncDir(filepath.Dir(j.path)); err != nil {
				_ = f.Close()
				return err
			}
		}
		j.file = f
	}
	err := j.file.Truncate(j.size)
	if err == nil {
		_, err = j.file.WriteAt(b, j.size)
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		_ = j.file.Close()
		j.file = nil
		return err
	}
	j.size += int64(len(b))
	return nil
}

// rewrite writes one line for each command.
func (j *journal) rewrite() error {
	var b []byte
	for _, e := range j.inOrder() {
		b = append(b, writeLine(line{Entry: &e})...)
	}
	b = append(b, writeLine(line{Last: j.last})...)
	if err := atomicfile.Write(j.path, b, 0o640); err != nil {
		return err
	}
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
	j.size, j.lines = int64(len(b)), len(j.known)+1
	return nil
}

// forget keeps the last thousand, of seven days where the clock can tell. What was only refused goes first, so that a flood of
// refusals does not make the device forget what it did.
func (j *journal) forget(synced bool) {
	if synced {
		for id, e := range j.known {
			if e.Final() && time.Since(e.At) > maxAge {
				delete(j.known, id)
			}
		}
	}
	if len(j.known) <= maxKnown {
		return
	}
	all := j.inOrder()
	for _, refused := range []bool{true, false} {
		for _, e := range all {
			if len(j.known) <= maxKnown {
				return
			}
			if e.Final() && refused == (e.Status == message.StatusRejected || e.Status == message.StatusExpired) {
				delete(j.known, e.ID)
			}
		}
	}
}

func (j *journal) inOrder() []entry {
	all := make([]entry, 0, len(j.known))
	for _, e := range j.known {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int { return int(int64(a.N - b.N)) })
	return all
}

// elapsed is the least time since an act of this type was begun. Over a boot without a clock in sync, that is the time since the boot.
func (j *journal) elapsed(kind string, synced bool) time.Duration {
	m, ok := j.last[kind]
	up := j.up()
	switch {
	case !ok:
		return maxAge
	case m.Boot == j.boot:
		return up - m.Up
	case m.Synced && synced:
		return max(up, time.Since(m.Wall))
	default:
		return up
	}
}

func (j *journal) close() {
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
}

var table = crc32.MakeTable(crc32.Castagnoli)

func writeLine(l line) []byte {
	b, _ := json.Marshal(l) // strings, times, and JSON that was valid
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(b, table), b)
}

func readLine(b []byte) (l line, ok bool) {
	if len(b) < 10 || b[len(b)-1] != '\n' || b[8] != ' ' {
		return l, false
	}
	sum, err := strconv.ParseUint(string(b[:8]), 16, 32)
	b = b[9 : len(b)-1]
	if err != nil || uint32(sum) != crc32.Checksum(b, table) || json.Unmarshal(b, &l) != nil {
		return l, false
	}
	return l, l.Entry == nil || l.Entry.ID != ""
}
